"""The program that makes work trees on hosts, against real repositories."""

import os
import shutil
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path, PurePosixPath

import pytest

from roles.onhost import pinned_checkout
from roles.operations.files import or_remove
from tests import onhost

pytestmark = pytest.mark.slow


def git(repository: Path, *args: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "protocol.file.allow=always")
    done = subprocess.run(["git", *identity, "-C", str(repository), *args], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def repository(folder: Path, **files: str) -> str:
    """A repository with one commit; its id."""
    folder.mkdir()
    git(folder, "init", "--quiet")
    for name, text in files.items():
        (folder / name).write_text(text)
    return commit(folder)


def commit(folder: Path) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "one")
    return git(folder, "rev-parse", "HEAD")


def check_out(home: Path, url: str, at: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = onhost.words("pinned_checkout", "--store", home / "store", "--url", url)
    command += ["--commit", at, "--tree", str(home / "tree"), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_tree_is_at_its_commit_although_the_branch_went_on(tmp_path: Path) -> None:
    first = repository(tmp_path / "origin", note="old")
    (tmp_path / "origin/note").write_text("new")
    commit(tmp_path / "origin")
    done = check_out(tmp_path, f"file://{tmp_path}/origin", first)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tree/note").read_text() == "old"
    assert git(tmp_path / "tree", "rev-parse", "HEAD") == first
    assert git(tmp_path / "tree", "remote", "get-url", "origin") == f"file://{tmp_path}/origin"


def test_what_the_server_said_is_quoted(tmp_path: Path) -> None:
    first = repository(tmp_path / "origin", note="a mirror lost this file")
    lost = git(tmp_path / "origin", "rev-parse", "HEAD:note")
    (tmp_path / "origin/.git/objects" / lost[:2] / lost[2:]).unlink()
    done = check_out(tmp_path, f"file://{tmp_path}/origin", first)
    assert done.returncode == 1
    assert f"remote: fatal: unable to read {lost}; fatal: " in done.stderr


def test_a_tagged_tree_can_describe_itself(tmp_path: Path) -> None:
    first = repository(tmp_path / "origin", readme="one")
    url = str(tmp_path / "origin")
    assert check_out(tmp_path, url, first, "--tag", "v1.10.1").returncode == 0
    assert git(tmp_path / "tree", "describe", "--tags") == "v1.10.1"


def test_a_stored_commit_needs_no_origin(tmp_path: Path) -> None:
    at = repository(tmp_path / "origin", note="text")
    url = f"file://{tmp_path}/origin"
    check_out(tmp_path, url, at)
    (tmp_path / "origin").rename(tmp_path / "gone")
    (tmp_path / "tree/note").write_text("edited")
    done = check_out(tmp_path, url, at)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tree/note").read_text() == "text"


def test_submodules_are_there_at_the_commits_the_tree_names(tmp_path: Path) -> None:
    repository(tmp_path / "deep", leaf="leaf")
    repository(tmp_path / "middle", note="middle")
    git(tmp_path / "middle", "submodule", "--quiet", "add", f"file://{tmp_path}/deep", "deep")
    middle = commit(tmp_path / "middle")
    repository(tmp_path / "top", note="top")
    git(tmp_path / "top", "submodule", "--quiet", "add", "../middle", "parts/middle")
    top = commit(tmp_path / "top")
    done = check_out(tmp_path, f"file://{tmp_path}/top", top)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tree/parts/middle/deep/leaf").read_text() == "leaf"
    status = git(tmp_path / "tree", "submodule", "status", "--recursive").splitlines()
    assert [line[0] for line in status] != [] and all(line[0] not in "-+U" for line in status)
    assert middle in status[0]


def test_an_unknown_commit_leaves_the_tree_that_was_there(tmp_path: Path) -> None:
    at = repository(tmp_path / "origin", note="text")
    url = f"file://{tmp_path}/origin"
    check_out(tmp_path, url, at)
    done = check_out(tmp_path, url, "0" * 40)
    assert done.returncode == 1
    assert done.stderr.startswith(f"cannot get commit 000000000000 of {url}: ")
    assert len(done.stderr.splitlines()) == 1
    assert git(tmp_path / "tree", "rev-parse", "HEAD") == at


@pytest.mark.parametrize("rest", ["half", "a whole folder"])
def test_what_an_interrupted_run_left_is_no_obstacle(tmp_path: Path, rest: str) -> None:
    at = repository(tmp_path / "origin", note="text")
    (tmp_path / ".tree.growing/.git").mkdir(parents=True)
    (tmp_path / ".tree.growing/note").write_text(rest)
    assert check_out(tmp_path, f"file://{tmp_path}/origin", at).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["origin", "store", "tree"]


def test_a_plain_folder_in_its_place_becomes_a_clone(tmp_path: Path) -> None:
    at = repository(tmp_path / "origin", note="text")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/note").write_text("copied here by hand")
    assert check_out(tmp_path, f"file://{tmp_path}/origin", at).returncode == 0
    assert git(tmp_path / "tree", "rev-parse", "HEAD") == at
    assert (tmp_path / "tree/note").read_text() == "text"


class Locked(BaseHTTPRequestHandler):
    """A server that answers as GitHub does for a repository that is not there."""

    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="GitHub"')
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_a_server_that_wants_a_login_is_no_prompt(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Locked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/owner/gone.git"
        with pytest.raises(pinned_checkout.CheckoutError, match=r"Authentication failed|could not read Username"):
            pinned_checkout.git("ls-remote", url, cwd=tmp_path)
        server.shutdown()


FULL = """#!/bin/sh
for word in "$@"; do
  if [ "$word" = fetch ]; then
    echo "error: unable to write file: No space left on device" >&2
    echo "fatal: fetch-pack: invalid index-pack output" >&2
    exit 128
  fi
done
exec {git} "$@"
"""


def test_a_full_disk_is_named_and_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = repository(tmp_path / "origin", readme="one")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").write_text(FULL.format(git=shutil.which("git")))
    (tmp_path / "bin/git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    began = time.monotonic()
    done = check_out(tmp_path, str(tmp_path / "origin"), first)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr and "index-pack" not in done.stderr
    assert time.monotonic() - began < 2, "no pause helps a full disk"


def test_what_fails_to_be_built_is_removed(tmp_path: Path) -> None:
    build = tmp_path / ".it.building"
    for command, stays in (("echo fine", True), (f"cd {build} && echo x >y && exit 7", False)):
        build.mkdir(exist_ok=True)
        done = subprocess.run(["sh", "-c", or_remove(command, PurePosixPath(build))], check=False)
        assert done.returncode == (0 if stays else 7)
        assert build.exists() == stays


def test_a_submodule_never_lies_outside_of_its_tree(tmp_path: Path) -> None:
    """The commit holds a link `sub` to a folder of programs and a gitlink `uv`, which .gitmodules calls sub/../uv."""
    tool = tmp_path / "tools/uv/bin/uv"
    tool.parent.mkdir(parents=True)
    (tmp_path / "tools/bin").mkdir()
    tool.write_text("ours")
    theirs = repository(tmp_path / "theirs", **{"bin": "evil"})
    repository(tmp_path / "top", note="top")
    (tmp_path / "top/sub").symlink_to(tmp_path / "tools/bin")
    (tmp_path / "top/.gitmodules").write_text(
        f'[submodule "uv"]\n\tpath = sub/../uv\n\turl = file://{tmp_path}/theirs\n'
    )
    git(tmp_path / "top", "update-index", "--add", "--cacheinfo", f"160000,{theirs},uv")
    at = commit_index(tmp_path / "top")
    check_out(tmp_path, f"file://{tmp_path}/top", at)
    assert tool.read_text() == "ours"
    assert sorted(path.name for path in (tmp_path / "tools").iterdir()) == ["bin", "uv"]


def commit_index(folder: Path) -> str:
    """A commit of all files and of what the index holds besides."""
    git(folder, "add", "sub", ".gitmodules", "note")
    git(folder, "commit", "--quiet", "--message", "two")
    return git(folder, "rev-parse", "HEAD")


@pytest.mark.parametrize("url", ["ext::sh -c 'touch {caught}'", "--upload-pack=touch {caught}", "/etc", "fd::17"])
def test_a_submodule_may_not_be_at_any_url(tmp_path: Path, url: str) -> None:
    caught = tmp_path / "caught"
    at = repository(tmp_path / "theirs", note="note")
    repository(tmp_path / "top", note="top")
    told = url.format(caught=caught).replace('"', '\\"')
    (tmp_path / "top/.gitmodules").write_text(f'[submodule "a"]\n\tpath = a\n\turl = "{told}"\n')
    git(tmp_path / "top", "update-index", "--add", "--cacheinfo", f"160000,{at},a")
    git(tmp_path / "top", "add", "note", ".gitmodules")
    git(tmp_path / "top", "commit", "--quiet", "--message", "two")
    top = git(tmp_path / "top", "rev-parse", "HEAD")
    with pytest.raises(pinned_checkout.CheckoutError, match="no https or ssh URL"):
        pinned_checkout.submodules(tmp_path / "top", "https://example.org/top", top)
    done = check_out(tmp_path, f"file://{tmp_path}/top", top)
    assert done.returncode == 1 and not caught.exists() and not (tmp_path / "tree").exists()
