"""Bare git repositories whose commit ids depend on their files alone."""

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

DATE = "2026-01-01T00:00:00Z"
_IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "sdfleet lab"), ("EMAIL", "lab@sdfleet.invalid"), ("DATE", DATE))
}


def publish(
    bare: Path,
    files: Mapping[str, bytes],
    message: str,
    submodules: Mapping[str, tuple[str, str]] = MappingProxyType({}),
) -> str:
    """Make `files` (and submodules: path -> URL, commit) the newest commit of `bare`; returns the commit id.

    A repository that has these files already stays as it is.
    """
    if not bare.exists():
        bare.parent.mkdir(parents=True, exist_ok=True)
        _git(bare.parent, "init", "--quiet", "--bare", "--initial-branch=master", str(bare))
    tree = _tree(bare, files, submodules)
    parent = _git(bare, "for-each-ref", "--format=%(objectname) %(tree)", "refs/heads/master").split()
    if parent[1:] == [tree]:
        return parent[0]
    commit = _git(bare, "commit-tree", tree, "-m", message, *(["-p", parent[0]] if parent else []))
    _git(bare, "update-ref", "refs/heads/master", commit)
    return commit


def configuration(settings: Mapping[str, str]) -> dict[str, str]:
    """Environment variables that set git configuration."""
    pairs = [
        (f"GIT_CONFIG_{part}_{number}", word)
        for number, setting in enumerate(settings.items())
        for part, word in zip(("KEY", "VALUE"), setting, strict=True)
    ]
    return {"GIT_CONFIG_COUNT": str(len(settings)), **dict(pairs)}


def tag(bare: Path, name: str, commit: str) -> None:
    """Set a lightweight tag."""
    set_ref(bare, f"refs/tags/{name}", commit)


def set_ref(bare: Path, ref: str, commit: str) -> None:
    """Set a ref, by its full name, to `commit`; new or not, forwards or back."""
    _git(bare, "update-ref", ref, commit)


def read_ref(bare: Path, ref: str) -> str:
    """The commit of a ref, by its full name. Raises RuntimeError if there is none."""
    return _git(bare, "rev-parse", "--verify", "--quiet", ref)


def _tree(bare: Path, files: Mapping[str, bytes], submodules: Mapping[str, tuple[str, str]]) -> str:
    if submodules:
        sections = [f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n' for path, (url, _) in submodules.items()]
        files = {**files, ".gitmodules": "".join(sections).encode()}
    entries = [f"160000 {commit}\t{path}\n" for path, (_, commit) in sorted(submodules.items())]
    for path, data in sorted(files.items()):
        blob = _git(bare, "hash-object", "-w", "--stdin", stdin=data)
        entries.append(f"100644 {blob}\t{path}\n")
    with tempfile.TemporaryDirectory() as scratch:
        index = str(Path(scratch) / "index")
        _git(bare, "update-index", "--add", "--index-info", stdin="".join(entries).encode(), index=index)
        return _git(bare, "write-tree", index=index)


def _git(folder: Path, *command: str, stdin: bytes = b"", index: str | None = None) -> str:
    # The user's own git settings (hooks, signing, templates) would change the commits.
    own = {**os.environ, **_IDENTITY, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    if index:
        own["GIT_INDEX_FILE"] = index
    done = subprocess.run(["git", "-C", str(folder), *command], input=stdin, capture_output=True, env=own, check=False)
    if done.returncode:
        raise RuntimeError(f"git {' '.join(command)} in {folder}: {done.stderr.decode().strip()}")
    return done.stdout.decode().strip()
