"""Choosing mirrors, and the files that send traffic over them."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from inventory.merge import PRESETS
from roles.cache.servers import homes
from roles.facts.answers import Answer, Answers
from roles.facts.seen import Entry, HostSurvey
from roles.facts.survey import Survey
from roles.managers import SYSTEMD
from roles.mirrors import tasks
from roles.mirrors.config import Mirrors
from roles.mirrors.rendering import OURS, apt_sources, environment, gitconfig, pip_conf, uv_toml
from roles.mirrors.selection import GIT_ANSWER, choose_mirrors, narrowed, probes, unprobed
from roles.models.addresses import addresses
from roles.proxy import Proxy
from tests.roles.declared import declared

REPOSITORY = "https://github.com/o/n.git"
ORIGINS = ('github.com"', "huggingface.co", "pypi.org", "download.pytorch.org")
ONE, TWO = "https://one.example", "https://two.example"


def chosen(mirrors: Mirrors, answers: dict[str, Answer]) -> tuple[Mirrors, list[str]]:
    choices = choose_mirrors(mirrors, probes(mirrors, REPOSITORY, "debian", "bookworm"), answers)
    return narrowed(mirrors, choices), [choice.sentence for choice in choices]


def test_a_proxy_that_answers_with_a_page_is_skipped_and_named() -> None:
    tail = f"{REPOSITORY}/info/refs?service=git-upload-pack"
    answers = {f"{ONE}/{tail}": Answer(200, "text/html"), f"{TWO}/{tail}": Answer(200, GIT_ANSWER)}
    used, said = chosen(Mirrors(github=(ONE, TWO)), answers)
    assert used.github == (TWO,)
    assert said == [f"mirrors.github: {ONE} gives no usable answer, skipped; using {TWO}"]


def test_a_mirror_that_replaces_githubs_host_serves_git_and_no_files() -> None:
    clone = "https://clone.example/github.com/*"
    answers = {"https://clone.example/github.com/o/n.git/info/refs?service=git-upload-pack": Answer(200, GIT_ANSWER)}
    mirrors = Mirrors(github=(ONE, clone))
    used, _ = chosen(mirrors, answers)
    assert used.github == (clone,)
    assert '[url "https://clone.example/github.com/"]' in gitconfig("", used.github_prefix(clone))
    assert "UV_PYTHON_INSTALL_MIRROR=https://github.com/astral-sh/" in environment(used)
    release = "https://github.com/o/n/releases/download/1/a.pth"
    assert [source.url for source in addresses(release, mirrors)] == [f"{ONE}/{release}"]
    assert [source.url for source in addresses(release, used)] == [release]
    assert homes("github", mirrors.github) == (f"{ONE}$request_uri",)
    with pytest.raises(ValueError, match=r"'https://a\.example/\*/b': \* stands for OWNER/NAME at the end alone"):
        Mirrors(github=("https://a.example/*/b",))


def test_china_has_mirrors_of_each_kind_and_tells_when_each_was_seen() -> None:
    text = PRESETS.joinpath("china.toml").read_text()
    mirrors = Mirrors.model_validate(tomllib.loads(text))
    assert {"https://hk.gh-proxy.org", "https://cdn.gh-proxy.org", "https://gitclone.com/github.com/*"} <= {
        *mirrors.github
    }
    assert mirrors.github[-1] == "https://github.com", "the origin last"
    assert "HF_HUB_DISABLE_XET=1" in environment(mirrors)
    for line in text.splitlines():
        if line.strip().startswith('"https://') and not any(origin in line for origin in ORIGINS):
            assert re.search(r"# 20\d\d-\d\d: \S", line), line


def test_the_first_that_answers_is_used_without_a_word() -> None:
    answers = {f"{ONE}/pip/": Answer(200), f"{TWO}/pip/": Answer(200)}
    used, said = chosen(Mirrors(pypi=(ONE, TWO)), answers)
    assert used.pypi == (ONE,)
    assert said == [""]


def test_when_nothing_answers_the_first_is_kept_and_all_are_named() -> None:
    used, said = chosen(Mirrors(pypi=(ONE, TWO)), {})
    assert used.pypi == (ONE,)
    assert said == [f"mirrors.pypi: none answers from this host ({ONE}, {TWO}); going on with {ONE}"]


def test_a_host_without_curl_does_not_count_on_its_own_cache() -> None:
    used = unprobed(Mirrors(apt=("http://127.0.0.1:8186", ONE), pypi=(ONE, TWO)))
    assert (used.apt, used.pypi) == ((ONE,), (ONE,))


def test_a_single_candidate_is_not_probed() -> None:
    assert probes(Mirrors(), REPOSITORY, "debian", "bookworm") == {}


def test_answers_are_matched_to_their_urls(tmp_path: Path) -> None:
    (tmp_path / "here").write_text("x")
    urls = [f"file://{tmp_path}/missing", f"file://{tmp_path}/here"]
    fact = Answers()
    script = fact.command(urls, 2)
    lines = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
    assert fact.process(lines).keys() == set(urls)


def test_git_rewrites_what_the_block_says_and_keeps_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "gitconfig"
    theirs = "[user]\n\tname = Somebody\n"
    file.write_text(gitconfig(theirs, f"{ONE}/https://github.com/"))
    get = ["git", "config", "--file", str(file), "--get-regexp", "."]
    listed = subprocess.run(get, capture_output=True, text=True, check=True).stdout
    assert f"url.{ONE}/https://github.com/.insteadof https://github.com/" in listed
    assert "user.name Somebody" in listed
    again = gitconfig(file.read_text(), f"{ONE}/https://github.com/")
    assert again == file.read_text()
    assert f"{ONE}" not in gitconfig(again, f"{TWO}/https://github.com/")
    assert gitconfig(again, None) == theirs


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_gitconfig_that_is_no_utf_8_keeps_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: bytes
) -> None:
    file = tmp_path / "gitconfig"
    monkeypatch.setattr(tasks, "GITCONFIG", file)
    theirs = b"[user]\n\tname = \xd0\xa1\xc3\xf7" + end
    file.write_bytes(theirs)

    def applied(mirrors: Mirrors) -> bytes:
        seen = HostSurvey({str(file): Entry("f", "root", "root", 0o644)}, {str(file): file.read_text(errors="replace")})

        def declare() -> None:
            tasks.install(mirrors=mirrors, repository=REPOSITORY, proxy=Proxy(), manager=SYSTEMD)

        operations = declared(declare, {Survey: seen, Answers: {}})
        for command in operations.get("Mirrors | Point git at the GitHub mirror", []):
            subprocess.run(["sh", "-c", command], check=True)
        return file.read_bytes()

    block = gitconfig("", f"{ONE}/https://github.com/").encode()
    assert applied(Mirrors(github=(ONE,))) == applied(Mirrors(github=(ONE,))) == theirs.rstrip(b"\n") + b"\n" + block
    assert applied(Mirrors(github=(TWO,))) == theirs.rstrip(b"\n") + b"\n" + block.replace(b"one.ex", b"two.ex")
    assert applied(Mirrors()) == theirs.rstrip(b"\n") + b"\n"


def test_the_environment_file_is_what_a_shell_reads(tmp_path: Path) -> None:
    mirrors = Mirrors(github=(ONE,), pypi=("http://index.example:81/simple",), huggingface=(TWO,))
    file = tmp_path / "mirrors.env"
    file.write_text(environment(mirrors))
    shown = subprocess.run(["sh", "-c", f"set -a; . {file}; env"], capture_output=True, text=True, check=True).stdout
    assert "PIP_INDEX_URL=http://index.example:81/simple\n" in shown
    assert "PIP_TRUSTED_HOST=index.example:81\n" in shown
    assert f"HF_ENDPOINT={TWO}\n" in shown
    assert "HF_HUB_DISABLE_XET=1\n" in shown
    assert f"UV_PYTHON_INSTALL_MIRROR={ONE}/https://github.com/astral-sh/" in shown


def test_the_default_index_leaves_the_hosts_own_files_alone() -> None:
    assert pip_conf(Mirrors()) is None
    assert uv_toml(Mirrors()) is None
    assert "XET" not in environment(Mirrors())


def test_uv_reads_its_index() -> None:
    text = uv_toml(Mirrors(pypi=(ONE,)))
    assert text is not None
    assert tomllib.loads(text)["index"] == [{"url": ONE, "default": True}]


@pytest.mark.parametrize(("os_id", "codename", "count"), [("debian", "bookworm", 2), ("ubuntu", "noble", 1)])
def test_every_stanza_of_apt_sources_is_whole(os_id: str, codename: str, count: int) -> None:
    """A blank line inside a stanza cuts it in two, and apt then refuses the file."""
    text = apt_sources(ONE, os_id, codename)
    stanzas = [stanza.removeprefix(f"{OURS}\n") for stanza in text.strip().split("\n\n")]
    fields = [[line.partition(":")[0] for line in stanza.splitlines()] for stanza in stanzas]
    assert fields == [["Types", "URIs", "Suites", "Components", "Signed-By"]] * count
    assert text.endswith("keyring.gpg\n")


def test_apt_sources_of_debian_and_ubuntu() -> None:
    debian = apt_sources(ONE, "debian", "bookworm")
    assert [line for line in debian.splitlines() if line.startswith(("URIs", "Suites"))] == [
        f"URIs: {ONE}/debian",
        "Suites: bookworm bookworm-updates",
        f"URIs: {ONE}/debian-security",
        "Suites: bookworm-security",
    ]
    ubuntu = apt_sources(ONE, "ubuntu", "noble")
    assert "Suites: noble noble-updates noble-security\n" in ubuntu
    assert "debian" not in ubuntu
