"""The proxy of a container's provider: read without running its script, and used for GitHub and Hugging Face alone."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from roles.facts.seen import Entry, HostSurvey
from roles.mirrors.config import Mirrors
from roles.mirrors.provider import FILE, NO_ROAD, Road, assigned, kinds_of, offered, over
from roles.mirrors.rendering import environment, gitconfig
from roles.models.host.http import Fault, request_file
from roles.models.host.manifest import File, Source, provider_road
from tests.forward_proxy import ForwardProxy

PROXY = "http://172.20.0.113:12798"
SCRIPT = f"export no_proxy=localhost\nexport http_proxy={PROXY} && export https_proxy={PROXY}\necho done\n"
BOTH = Road(PROXY, ("github", "huggingface"))
MIRROR = "https://hf-mirror.example"


@pytest.mark.parametrize(
    ("script", "found"),
    [
        (SCRIPT, PROXY),
        (f"export http_proxy='{PROXY}/'", PROXY),
        (f"# https_proxy=http://old.example:1\nhttps_proxy={PROXY}; export https_proxy", PROXY),
        (f"if a; then https_proxy={PROXY}; else https_proxy=http://b.example:2; fi", ""),
        ("https_proxy=$(cat /root/proxy)", ""),
        ("https_proxy=http://name:word@c.example:3", ""),
        ("https_proxy=socks5://d.example:4", ""),
        ("", ""),
    ],
)
def test_a_script_is_read_and_never_run(script: str, found: str) -> None:
    assert assigned(script) == found


def seen(entry: Entry) -> HostSurvey:
    return HostSurvey(entries={str(FILE): entry}, texts={str(FILE): SCRIPT})


def test_only_roots_own_file_counts() -> None:
    file = Entry("f", "root", "root", 0o644)
    assert offered(Mirrors(), seen(file)) == PROXY
    for other in (replace(file, kind="l"), replace(file, owner="somebody"), replace(file, mode=0o666)):
        assert offered(Mirrors(), seen(other)) == ""
    assert offered(Mirrors(), HostSurvey()) == ""


def test_it_can_be_named_or_switched_off() -> None:
    file = seen(Entry("f", "root", "root", 0o644))
    assert offered(Mirrors(provider_proxy=""), file) == ""
    assert offered(Mirrors(provider_proxy="http://turbo.example:30000"), file) == "http://turbo.example:30000"
    with pytest.raises(ValidationError, match="provider_proxy"):
        Mirrors(provider_proxy="yes")


def test_lists_without_the_origin_or_with_an_own_cache_first_do_not_use_it() -> None:
    assert kinds_of(Mirrors()) == ("github", "huggingface")
    assert kinds_of(Mirrors(huggingface=(MIRROR,))) == ("github",)
    assert kinds_of(Mirrors(github=("http://10.0.0.1:8180", "https://github.com"))) == ("huggingface",)


def test_git_asks_github_alone_over_it(tmp_path: Path) -> None:
    file = tmp_path / "gitconfig"
    file.write_text(gitconfig("", None, PROXY))

    def proxy_for(url: str) -> str:
        get = ["git", "config", "--file", str(file), "--get-urlmatch", "http.proxy", url]
        return subprocess.run(get, capture_output=True, text=True).stdout.strip()

    assert proxy_for("https://github.com/owner/name.git") == PROXY
    assert proxy_for("https://gitee.com/owner/name.git") == proxy_for("https://github.com.example/owner/name") == ""
    assert gitconfig(file.read_text(), None) == ""


def test_no_other_program_takes_it_for_its_own() -> None:
    mirrors = over(BOTH, Mirrors(huggingface=(MIRROR, "https://huggingface.co")))
    assert mirrors.huggingface == ("https://huggingface.co",)
    text = environment(mirrors, road=BOTH)
    assert f"SDFLEET_PROVIDER_PROXY={PROXY}\n" in text and f"SDFLEET_PYTHON_PROXY={PROXY}\n" in text
    assert "http_proxy" not in text and "https_proxy" not in text
    elsewhere = Mirrors(python=("https://npmmirror.example/python",))
    assert "SDFLEET_PYTHON_PROXY" not in environment(elsewhere, road=BOTH)
    assert "SDFLEET_P" not in environment(mirrors, road=NO_ROAD)


def test_models_come_over_it_first_and_only_from_its_domains() -> None:
    urls = ("http://10.0.0.1:8181/a", f"{MIRROR}/a", "https://huggingface.co/a", "https://modelscope.cn/a")
    with ForwardProxy() as proxy:
        told = {"SDFLEET_PROVIDER_PROXY": proxy.url, "SDFLEET_PROVIDER_DOMAINS": "huggingface.co hf.co"}
        road = provider_road(told)
        assert road is not None
        file = File("a", "0" * 64, None, tuple(Source(url) for url in urls)).over(road)
        over_it = [(source.url, source.road is not None) for source in file.sources]
        assert over_it == [
            (urls[0], False),
            (urls[2], True),
            *((url, False) for url in urls[1:]),
        ]
        proxy.places["huggingface.co"] = ("127.0.0.1", 9)
        with pytest.raises(Fault, match="does not answer"):
            request_file(file.sources[1], file, 0)
        assert proxy.asked == ["CONNECT huggingface.co:443"]
        with pytest.raises(Fault):
            request_file(Source("https://127.0.0.1:9/a", road=road), file, 0)
        assert len(proxy.asked) == 1, "another domain went over it"
    assert provider_road({}) is None
