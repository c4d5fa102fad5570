"""The GitHub stand-in, used by the genuine git and unzip."""

import io
import os
import socket
import subprocess
import zipfile
from pathlib import Path

import pytest
import requests

from lab.upstreams.repositories import publish
from lab.upstreams.service import Upstreams

LIBRARY = {"README.md": b"library\n", "src/code.py": b"VALUE = 1\n"}


def git(upstreams: Upstreams, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run git as on a host whose mirror is the stand-in."""
    mirror = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{upstreams.url('github')}/https://github.com/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
    }
    return subprocess.run(
        ["git", *command], env={**os.environ, **mirror}, check=check, capture_output=True, text=True, timeout=30
    )


@pytest.fixture
def library(upstreams: Upstreams) -> str:
    """Commit id of a library, the newer of two."""
    bare = upstreams.folders.git / "lab/library.git"
    publish(bare, {"README.md": b"old\n"}, "first")
    return publish(bare, LIBRARY, "second")


def test_same_files_give_the_same_commit_elsewhere(tmp_path: Path) -> None:
    first = publish(tmp_path / "a/x.git", LIBRARY, "message")
    assert publish(tmp_path / "b/y.git", LIBRARY, "message") == first
    assert publish(tmp_path / "a/x.git", LIBRARY, "message") == first, "nothing changed, so no new commit"


@pytest.mark.parametrize("suffix", ["", ".git"])
def test_clone(upstreams: Upstreams, library: str, tmp_path: Path, suffix: str) -> None:
    git(upstreams, "clone", f"https://github.com/lab/library{suffix}", str(tmp_path / "clone"))
    assert git(upstreams, "-C", str(tmp_path / "clone"), "rev-parse", "HEAD").stdout.strip() == library
    origin = git(upstreams, "-C", str(tmp_path / "clone"), "config", "remote.origin.url").stdout.strip()
    assert origin == f"https://github.com/lab/library{suffix}", "the mirror stays out of the clone's settings"


def test_shallow_fetch_of_any_commit(upstreams: Upstreams, library: str, tmp_path: Path) -> None:
    old = git(upstreams, "-C", str(upstreams.folders.git / "lab/library.git"), "rev-parse", f"{library}~1").stdout
    folder = str(tmp_path / "clone")
    git(upstreams, "init", "--quiet", folder)
    git(upstreams, "-C", folder, "fetch", "--depth", "1", "https://github.com/lab/library", old.strip())
    git(upstreams, "-C", folder, "checkout", "--quiet", "FETCH_HEAD")
    assert (tmp_path / "clone/README.md").read_text() == "old\n"


def test_submodules_come_through_the_mirror(upstreams: Upstreams, library: str, tmp_path: Path) -> None:
    modules = {"deep/library": ("https://github.com/lab/library.git", library)}
    publish(upstreams.folders.git / "lab/program.git", {"run.py": b""}, "program", modules)
    git(upstreams, "clone", "--recursive", "https://github.com/lab/program", str(tmp_path / "clone"))
    assert (tmp_path / "clone/deep/library/src/code.py").read_bytes() == LIBRARY["src/code.py"]


def test_unknown_repository_is_not_found_and_nobody_is_asked_for_a_password(upstreams: Upstreams) -> None:
    done = git(upstreams, "ls-remote", "https://github.com/lab/nothing", check=False)
    assert done.returncode == 128
    assert "not found" in done.stderr
    assert "could not read Username" not in done.stderr


def test_archive_of_a_commit(upstreams: Upstreams, library: str) -> None:
    url = f"{upstreams.url('github')}/https://github.com/lab/library/archive/{library}.zip"
    answer = requests.get(url, timeout=10)
    answer.raise_for_status()
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.read(f"library-{library}/src/code.py") == LIBRARY["src/code.py"]
    assert requests.get(url.replace(library, "0" * 40), timeout=10).status_code == 404


def test_raw_file(upstreams: Upstreams, library: str) -> None:
    url = f"{upstreams.url('github')}/https://raw.githubusercontent.com/lab/library/{library}/src/code.py"
    assert requests.get(url, timeout=10).content == LIBRARY["src/code.py"]


def test_http_1_0_client(upstreams: Upstreams, library: str) -> None:
    """nginx speaks HTTP/1.0 to its upstreams unless told otherwise: it must not get chunks."""
    path = "/https://github.com/lab/library/info/refs?service=git-upload-pack"
    with socket.create_connection(("127.0.0.1", upstreams.ports.github), timeout=10) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body.startswith(b"001e# service=git-upload-pack\n")
