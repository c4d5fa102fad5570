"""The cache role on real hosts: the fleet's downloads cost upstream one copy."""

import os
import shlex
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.upstreams.faults import Fault
from roles.cache.rendering import TOKENS, nginx_conf
from roles.paths import Paths
from tests.roles.cache import archive
from tests.roles.cache.conftest import Scene
from tests.roles.models.conftest import digest, model

pytestmark = pytest.mark.lab

MEGABYTES = int(os.environ.get("SDFLEET_CACHE_MB", "48"))
"""Size of the model; SDFLEET_CACHE_MB=500 shows how much time the cache saves."""

UPSTREAM_RATE = 50_000_000
PACKAGE = "hello"
PATHS = Paths()
LINK = PATHS.data("webui") / "models/Lora/ink.safetensors"


@pytest.fixture(scope="module")
def ink(scene: Scene) -> bytes:
    """A model that upstream has, at the rate of a slow line."""
    data = model(21, MEGABYTES * 1_000_000)
    file = scene.upstreams.hub / "studio/ink/main/ink.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    return data


def entry(data: bytes) -> dict[str, str]:
    """The manifest's entry."""
    return {"name": "ink", "kind": "lora", "source": "hf:studio/ink/ink.safetensors", "sha256": digest(data)}


def apply_models(scene: Scene) -> float:
    """Seconds that apply took to bring the model to every host."""
    began = time.monotonic()
    scene.apply("models")
    seconds = time.monotonic() - began
    for host in scene.lab.hosts:
        size = scene.lab.ssh(host.name, f"stat -L -c %s {LINK}").stdout.strip()
        assert size.isdigit() and int(size) > MEGABYTES * 1_000_000, f"{host.name} has {size or 'nothing'}"
    return seconds


@dataclass(frozen=True)
class Cost:
    """What it cost to bring the model to all hosts."""

    seconds: float
    copies: float
    """Bytes that upstream sent, as a multiple of the model's size."""


@dataclass(frozen=True)
class Costs:
    """Without and with the cache."""

    direct: Cost
    cached: Cost


@pytest.fixture(scope="module")
def costs(scene: Scene, ink: bytes) -> Costs:
    """Four hosts that got the model directly from upstream, and after that over the cache, which they use from now on.

    A test that changes their settings takes `resettled`.
    """
    scene.write([entry(ink)], cached=False)
    scene.set_faults(Fault(kind="slow", server="cdn", rate=UPSTREAM_RATE))
    scene.forget()
    seconds = apply_models(scene)
    direct = Cost(seconds, scene.sent()["cdn"] / len(ink))
    scene.clean()
    scene.write([entry(ink)])
    scene.apply("mirrors", "cache")
    scene.forget()
    seconds = apply_models(scene)
    cached = Cost(seconds, sum(scene.sent().values()) / len(ink))
    scene.set_faults()
    return Costs(direct, cached)


@pytest.fixture
def resettled(scene: Scene, ink: bytes, costs: Costs) -> Iterator[None]:
    """Gives the hosts their settings and the model back after a test."""
    yield
    (scene.folder / "fleet.lock").unlink(missing_ok=True)
    scene.write([entry(ink)])
    scene.apply("mirrors", "cache", "models")


def test_four_hosts_cost_upstream_one_copy(costs: Costs, capsys: pytest.CaptureFixture[str]) -> None:
    direct, cached = costs.direct, costs.cached
    assert direct.copies == pytest.approx(4, abs=0.01)
    with capsys.disabled():
        print(f"\n4 hosts, {MEGABYTES} MB, upstream at 50 MB/s: directly {direct.seconds:.1f} s and ", end="")
        print(f"{direct.copies:.2f} copies, over the cache {cached.seconds:.1f} s and {cached.copies:.3f} copies")
    assert cached.copies <= 1.02


@pytest.mark.usefixtures("costs")
def test_a_second_apply_changes_nothing_and_verify_is_content(scene: Scene) -> None:
    code, said = scene.sdfleet("apply", "--role", "cache", "--role", "models")
    assert code == 0
    assert "ink" not in said
    assert all("0" in line.split() for line in said.splitlines() if line.startswith(("h1 ", "h2 ")) and "ok" in line)
    code, said = scene.sdfleet("verify", "--role", "cache", "--role", "models")
    assert code == 0, said


@pytest.mark.usefixtures("costs")
def test_wrong_bytes_in_the_cache_are_not_believed_and_asked_for_again(scene: Scene) -> None:
    scene.clean()
    scene.lab.ssh("h1", f"systemctl stop sdfleet-cache; rm -rf {PATHS.http_cache}/kept; systemctl start sdfleet-cache")
    scene.set_faults(Fault(kind="wrong", server="cdn"))
    try:
        code, said = scene.sdfleet("apply", "--role", "models", "--limit", "h2")
    finally:
        scene.set_faults()
    assert code == 1
    assert "sent wrong bytes" in said
    apply_models(scene)
    scene.clean()
    scene.forget()
    apply_models(scene)
    assert scene.sent().get("cdn", 0) == 0, "the cache keeps the right bytes by now"


@pytest.mark.usefixtures("costs")
def test_without_the_cache_hosts_ask_the_mirrors_behind_it(scene: Scene) -> None:
    scene.clean()
    scene.lab.ssh("h1", "systemctl stop sdfleet-cache")
    try:
        apply_models(scene)
    finally:
        scene.lab.ssh("h1", "systemctl start sdfleet-cache")


@pytest.mark.usefixtures("resettled")
def test_strangers_get_nothing_and_what_is_kept_outlives_a_new_configuration(scene: Scene, ink: bytes) -> None:
    """Only listed networks may use it, and no other address than an upstream's is fetched for anybody.

    Also the next pieces are kept: nginx has been told of the change without a restart.
    """
    scene.write([entry(ink)], cache={"allow": ["127.0.0.0/8"]})
    scene.apply("mirrors", "cache")
    ask = "curl -s -o /dev/null -w '%{http_code}'"
    address = scene.lab.hosts[0].address
    refused = scene.lab.ssh("h2", f"{ask} http://{address}:8180/api/models/studio/ink").stdout
    allowed = scene.lab.ssh("h1", f"{ask} http://127.0.0.1:8180/api/models/studio/ink").stdout
    elsewhere = scene.lab.ssh("h1", f"{ask} http://127.0.0.1:8187/https://example.org/").stdout
    assert (refused, allowed, elsewhere) == ("403", "200", "403")

    scene.write([entry(ink)])
    process = "systemctl show -P MainPID sdfleet-cache"
    before = scene.lab.ssh("h1", process).stdout
    said = scene.apply("mirrors", "cache")
    assert "Start the cache" in said, said
    assert scene.lab.ssh("h1", process).stdout == before
    code, said = scene.sdfleet("verify", "--role", "cache")
    assert code == 0, said
    scene.clean()
    scene.forget()
    apply_models(scene)
    assert scene.sent().get("cdn", 0) == 0


@pytest.mark.usefixtures("resettled")
def test_a_host_gives_its_model_to_the_others(scene: Scene) -> None:
    """A file put by hand on the cache's host is pinned over SSH and fetched by the others from there."""
    scene.clean()
    own = model(22, 3_000_000)
    folder = PATHS.data("webui") / "models/Lora"
    scene.lab.ssh("h1", f"mkdir -p {folder}")
    (scene.lab.root("h1") / str(folder / "own.safetensors").lstrip("/")).write_bytes(own)
    source = "host:h1/models/Lora/own.safetensors"
    scene.write([{"name": "theirs", "kind": "lora", "source": source}])
    code, said = scene.sdfleet("lock")
    assert code == 0, said
    scene.apply("mirrors", "cache", "models")
    for host in scene.lab.hosts:
        found = scene.lab.ssh(host.name, f"sha256sum < {folder}/theirs.safetensors").stdout.split()
        assert found[:1] == [digest(own)], host.name
    hidden = scene.lab.ssh(
        "h2", f"curl -s -o /dev/null -w '%{{http_code}}' http://{scene.lab.hosts[0].address}:8188/config.json"
    )
    assert hidden.stdout == "404"


@pytest.mark.usefixtures("resettled")
def test_the_tokens_are_asked_for_in_vain_through_a_link(scene: Scene) -> None:
    """The WebUI's user links to tokens that nginx may read, in folders of which nginx gives files away."""
    token, mine = "hf_5ecret0planted5link", "hf_my0own0file"
    given = "/run/credentials/sdfleet-cache.service/tokens.conf"
    (scene.folder / "token").write_text(token)
    packages = {"packages": ["git", "python3", "python3-venv"], "min_free_gb": 0.1}
    secrets = {"huggingface_token": {"file": "token"}}
    scene.write([], cache={"hold_tokens": True}, secrets=secrets, base=packages)
    scene.apply("base", "mirrors", "cache")
    models = PATHS.webui_models
    plant = f"""
        mkdir -p {models}/Lora && cd {models}/Lora && echo {mine} >file.bin && ln -s file.bin own.safetensors
        ln -s {given} a.safetensors; ln -s {TOKENS} b.safetensors; ln -s a.safetensors c.safetensors
        ln -s {nginx_conf(PATHS)} d.safetensors; ln -s /proc/self/environ e.safetensors
        ln -s {Path(given).parent} folder; ln -s / top.safetensors; ln {given} f.safetensors
    """
    scene.lab.ssh("h1", f"rm -rf {models}; runuser -u sdwebui -- sh -c {shlex.quote(plant)}")
    try:
        assert token in scene.lab.ssh("h1", f"cat {given}").stdout
        below = [f"Lora/{name}.safetensors" for name in ("a", "b", "c", "d", "e", "f")]
        below += ["Lora/folder/tokens.conf", f"Lora/top.safetensors{given}", f"..%2f..%2f..%2f..%2f..{given}"]
        places = [f"models/{path}" for path in below]
        places += [f"converted/..{given}", f"converted/../../..{TOKENS}", f"converted/%2e%2e/%2e%2e/%2e%2e{TOKENS}"]
        ask = "curl -s --path-as-is -w ' %{http_code}\\n' http://" + scene.lab.hosts[0].address + ":8188/"
        own = scene.lab.ssh("h2", f"{ask}models/Lora/own.safetensors").stdout.split()
        assert own == [mine, "200"], "a link to a file of the same owner is followed"
        for place in places:
            answer = scene.lab.ssh("h2", f"{ask}{place}").stdout
            assert token not in answer and answer.split()[-1] in ("400", "403", "404"), (place, answer)
    finally:
        scene.lab.ssh("h1", f"rm -rf {models}")


@pytest.mark.usefixtures("resettled")
def test_apt_asks_the_archive_once_for_the_fleet(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """A package and the lists that name it come over the cache; without it, from the mirror behind it."""
    others = [host.name for host in scene.lab.hosts[1:]]
    asked_apt = "apt-get indextargets --format '$(SITE)' | sort -u"
    with archive.running(scene.lab) as mirror:
        scene.write([], mirrors={"apt": [mirror.url("")], "probe_seconds": 30})
        scene.apply("mirrors", "cache")
        mirror.asked.clear()
        install = f"apt-get -q -y update && apt-get -q -y install {PACKAGE}"
        with ThreadPoolExecutor() as pool:
            for done in pool.map(lambda name: scene.lab.ssh(name, install), others):
                assert done.returncode == 0, done.stderr
        for name in others:
            sites = scene.lab.ssh(name, asked_apt).stdout.split()
            assert sites and all(":8186/" in site for site in sites)
        kept = {path: count for path, count in mirror.asked.items() if "/pool/" in path or "/by-hash/" in path}
        with capsys.disabled():
            print(
                f"\n{len(others)} hosts installed {PACKAGE}: {len(kept)} packages and lists, asked upstream each once"
            )
        assert any(path.endswith(".deb") for path in kept) and any("/by-hash/" in path for path in kept)
        assert set(kept.values()) == {1}
        scene.lab.ssh("h1", "systemctl stop sdfleet-cache")
        try:
            code, said = scene.sdfleet("apply", "--role", "mirrors", "--limit", "h2")
        finally:
            scene.lab.ssh("h1", "systemctl start sdfleet-cache")
        assert code == 0 and "mirrors.apt: " in said, said
        assert all(site.startswith(mirror.url("/")) for site in scene.lab.ssh("h2", asked_apt).stdout.split())
