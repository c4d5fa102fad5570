"""The lab's proxy of a provider: what it leads to, counted, and what it refuses."""

import os
import subprocess

import pytest

from lab.upstreams.catalog import build_code
from lab.upstreams.faults import Fault
from lab.upstreams.service import Upstreams
from roles.models.host.http import Fault as FetchFault
from roles.models.host.http import request_file
from roles.models.host.manifest import File, Road, Source
from tests.upstreams import put_on_hub

DOMAINS = ("github.com", "huggingface.co", "hf.co")


def asked(upstreams: Upstreams) -> list[tuple[str, int]]:
    """What the proxy was asked to lead to, and what it answered."""
    return [(line["target"], line["status"]) for line in upstreams.log.read() if line["server"] == "academic"]


def trusting(upstreams: Upstreams) -> dict[str, str]:
    """An environment that trusts the lab's authority."""
    return {**os.environ, "GIT_SSL_CAINFO": str(upstreams.folders.root / "authority.pem"), "GIT_TERMINAL_PROMPT": "0"}


def ls_remote(upstreams: Upstreams, url: str) -> "subprocess.CompletedProcess[str]":
    words = ["git", "-c", f"http.proxy={upstreams.url('academic')}", "ls-remote", url]
    return subprocess.run(words, env=trusting(upstreams), capture_output=True, text=True)


def test_git_reaches_github_over_it_and_nothing_else(upstreams: Upstreams) -> None:
    webui = build_code(upstreams.folders).webui
    done = ls_remote(upstreams, webui.url)
    assert done.returncode == 0 and webui.commit in done.stdout, done.stderr
    assert asked(upstreams)[0] == ("github.com", 200)
    assert ls_remote(upstreams, "https://gitee.com/owner/name").returncode
    assert asked(upstreams)[-1] == ("gitee.com", 502)


def test_a_model_comes_over_it_with_the_storage_that_it_is_redirected_to(
    upstreams: Upstreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = os.urandom(3_000_000)
    put_on_hub(upstreams, "owner/name", {"a.safetensors": weights})
    monkeypatch.setenv("SSL_CERT_FILE", str(upstreams.folders.root / "authority.pem"))
    road = Road(upstreams.url("academic").removeprefix("http://"), DOMAINS)
    source = Source("https://huggingface.co/owner/name/resolve/main/a.safetensors", road=road)
    answer = request_file(source, File("a", "0" * 64, None, (source,)), 0)
    assert answer is not None and answer.body.read() == weights
    assert asked(upstreams) == [("huggingface.co", 200), ("cdn-lfs.huggingface.co", 200)]


def test_it_can_refuse_a_name_and_be_dead(upstreams: Upstreams) -> None:
    url = build_code(upstreams.folders).webui.url
    upstreams.set_faults(Fault(kind="status", server="academic", path="github.com", status=403))
    assert "403" in ls_remote(upstreams, url).stderr
    assert asked(upstreams) == [("github.com", 403)]
    upstreams.set_faults(Fault(kind="dead", server="academic"))
    assert ls_remote(upstreams, url).returncode
    road = Road(upstreams.url("academic").removeprefix("http://"), DOMAINS)
    source = Source("https://huggingface.co/a/b/resolve/main/c", road=road)
    with pytest.raises(FetchFault, match="does not answer"):
        request_file(source, File("a", "0" * 64, None, (source,)), 0)
    assert len(asked(upstreams)) == 1
