"""What really goes over a forward proxy: the programs of a host, each by its own reading of what sdfleet writes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from roles.facts.answers import Answers
from roles.mirrors.config import Mirrors
from roles.mirrors.rendering import apt_proxy, environment
from roles.operations.sources import Source, checkout_command
from roles.paths import MIRRORS_ENV, WITH_MIRRORS, Paths
from roles.proxy import Proxy
from tests.forward_proxy import ForwardProxy
from tests.roles.models.conftest import Fetcher, content, wanted
from tests.roles.models.origin import Origin

LOGIN = "me:s3cret"
GOOD = content(1)
BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[3]


@pytest.fixture
def forward(origin: Origin) -> Iterator[ForwardProxy]:
    """A proxy with a login, which alone knows where origin.example is."""
    places = {"origin.example": (origin.address, origin.port), "direct.example": ("127.0.0.1", 9)}
    server = ForwardProxy(places=places, login=LOGIN)
    yield server
    server.shutdown()


def over(proxy: Proxy, command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a shell command as sdfleet does on a host, with the host's file in `folder`."""
    file = folder / "mirrors.env"
    file.write_text(environment(Mirrors(), proxy))
    words = WITH_MIRRORS.replace(str(MIRRORS_ENV), str(file))
    clean = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    told = ["sh", "-c", f"{words}; {command}"]
    return subprocess.run(told, env=clean, cwd=folder, capture_output=True, text=True, timeout=60)


PROGRAMS = {
    "curl": "curl -s {0}/model >/dev/null",
    "git": "git ls-remote {0}/o/n.git",
    "git over TLS": "git ls-remote https://origin.example/o/n.git",
    "uv": f"{BIN}/uv pip install --no-cache --no-config --target t --index {{0}}/simple nothing-at-all",
    "pip": f"{BIN}/pip --disable-pip-version-check download --retries 0 --no-cache-dir --isolated -d t "
    "--trusted-host origin.example --index-url {0}/simple nothing-at-all",
    "Python": f"{BIN}/python -c 'import urllib.request; urllib.request.urlopen(\"{{0}}/model\")'",
    "wheels": f"cd {ROOT}; {BIN}/python -c 'from roles.onhost.build_wheels import listed; "
    'listed("{0}/simple", "nothing-at-all")\'',
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_go_over_it_with_its_login(
    program: str, forward: ForwardProxy, origin: Origin, tmp_path: Path
) -> None:
    origin.serve("/model", GOOD)
    proxy = Proxy(forward.url)
    over(proxy, PROGRAMS[program].format("http://origin.example"), tmp_path)
    assert any("origin.example" in line and not line.startswith("407") for line in forward.asked), forward.asked


def test_what_needs_no_proxy_is_reached_without_it(forward: ForwardProxy, origin: Origin, tmp_path: Path) -> None:
    url = origin.serve("/model", b"12345678")
    done = over(Proxy(forward.url, ("direct.example",)), f"curl -s {url}", tmp_path)
    assert (done.stdout, forward.asked) == ("12345678", [])
    over(Proxy(forward.url, ("direct.example",)), "curl -s -m 2 http://direct.example/", tmp_path)
    assert forward.asked == []


def test_models_come_over_it_and_its_login_goes_to_nobody_else(
    forward: ForwardProxy, origin: Origin, mirror: Origin, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.serve("/model", GOOD, f"redirect:{mirror.serve('/there', GOOD)}")
    for name, value in Proxy(forward.url).environment().items():
        monkeypatch.setenv(name, value)
    done = fetcher.run(wanted(GOOD, "http://origin.example/model"))
    assert (done.status, done.errors) == (0, [])
    assert forward.asked == ["GET http://origin.example/model"], "127.0.0.1 is reached without it"
    assert all("proxy-authorization" not in headers for _, headers in (*origin.requests, *mirror.requests))


def test_mirrors_are_probed_over_it_and_its_password_is_in_no_command_line(
    forward: ForwardProxy, origin: Origin
) -> None:
    origin.serve("/simple/", GOOD)
    proxy = Proxy(forward.url)
    command = Answers().command(["http://origin.example/simple/"], 5, config=True)
    done = subprocess.run(["sh", "-c", command], input=proxy.curl_config(), capture_output=True, text=True, timeout=30)
    found = Answers().process(done.stdout.splitlines())
    assert found["http://origin.example/simple/"].status == 200
    assert "s3cret" not in command


def test_apt_takes_it_for_both_schemes_and_goes_straight_to_the_fleet(tmp_path: Path) -> None:
    file = tmp_path / "apt.conf"
    file.write_text(apt_proxy(None, Proxy("http://me:pw@p.example:3128", ("10.0.0.5", ".intern.example"))) or "")

    def shown(key: str) -> str:
        command = ["apt-config", "-c", str(file), "dump", "--format", "%v%n", key]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition("\n")[0]

    assert shown("Acquire::http::Proxy") == shown("Acquire::https::Proxy") == "http://me:pw@p.example:3128"
    assert shown("Acquire::http::Proxy::10.0.0.5") == shown("Acquire::https::Proxy::127.0.0.1") == "DIRECT"
    file.write_text(apt_proxy("http://cacher:3142", Proxy("http://p.example:3128")) or "")
    assert (shown("Acquire::http::Proxy"), shown("Acquire::https::Proxy")) == (
        "http://cacher:3142",
        "http://p.example:3128",
    )
    assert apt_proxy(None, Proxy()) is None


def test_commits_are_fetched_over_it() -> None:
    command = checkout_command(Source("https://x.example/a", "0" * 40), Paths().root / "tree", Paths())
    assert f"{WITH_MIRRORS}; python3" in command
