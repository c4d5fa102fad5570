"""Resolve git refs through the fleet's GitHub mirrors, without a clone."""

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from inventory.errors import SdfleetError
from inventory.lock import GitPin
from roles.github import GITHUB, prefix
from roles.models.sources.web import UnreachableError

ANSWER_SECONDS = 120
LIST_SECONDS = 30
"""How long a server may take to list its refs; a blocked one never answers."""
SUBMODULE = "160000 commit"
"""How `git ls-tree` marks a submodule."""


NO_CONNECTION = re.compile(r"Could not resolve (host|proxy)|Failed to connect|[Cc]onnection (timed out|refused|reset)")
"""git's messages for a server that cannot be reached."""


class SilentError(SdfleetError):
    """The server does not answer."""


@dataclass(frozen=True)
class _Route:
    """GitHub itself or a mirror of it, with git's options to use it."""

    name: str
    options: tuple[str, ...]


def resolve(url: str, ref: str, mirror: str) -> GitPin:
    """Current commit and submodules of a ref, from one mirror. Raises SdfleetError if it does not know."""
    [route] = _routes(url, [mirror])
    try:
        commit = _commit(url, ref, route)
        return GitPin(commit=commit, submodules=_submodules(url, commit, route))
    except SilentError as error:
        raise UnreachableError(f"{route.name}: {error}") from error
    except ValidationError as error:
        raise SdfleetError(f"{route.name}: gave an invalid answer") from error
    except SdfleetError as error:
        raise SdfleetError(f"{route.name}: {error}") from error


def file_at(url: str, commit: str, path: str, mirrors: Sequence[str]) -> str | None:
    """Text of a file at a commit; None if the commit has no such file.

    Raises SdfleetError with each mirror's reason if none of them has the commit.
    """
    reasons = []
    for route in _routes(url, mirrors):
        with tempfile.TemporaryDirectory(prefix="sdfleet-lock-") as folder:
            try:
                _git(["init", "--quiet", "--bare", folder])
                _git(["-C", folder, *route.options, "fetch", "--quiet", "--depth=1", "--", url, commit])
            except SdfleetError as error:
                reasons.append(f"{route.name}: {error}")
                continue
            listed = _git(["-C", folder, "ls-tree", "--name-only", commit, "--", path])
            return _git(["-C", folder, "show", f"{commit}:{path}"]) if listed.strip() else None
    raise SdfleetError(f"cannot read {path} of {url} at {commit[:10]}: {'; '.join(reasons)}")


def _routes(url: str, mirrors: Sequence[str]) -> list[_Route]:
    if not url.startswith(GITHUB + "/"):
        return [_Route("direct", ())]
    instead = {mirror: f"url.{prefix(mirror)}.insteadOf={GITHUB}/" for mirror in mirrors}
    return [_Route(mirror, () if mirror == GITHUB else ("-c", rule)) for mirror, rule in instead.items()]


def _commit(url: str, ref: str, route: _Route) -> str:
    names = [f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"refs/heads/{ref}"]
    listed = _git([*route.options, "ls-remote", "--", url, *names], LIST_SECONDS)
    found = {name: commit for commit, _, name in (line.partition("\t") for line in listed.splitlines())}
    # An annotated tag is a separate object; ^{} is the commit that it points to.
    for name in names:
        if name in found:
            return found[name]
    raise SdfleetError("it has no such tag or branch")


def _submodules(url: str, commit: str, route: _Route) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="sdfleet-lock-") as folder:
        _git(["init", "--quiet", "--bare", folder])
        fetch = ["fetch", "--quiet", "--depth=1", "--filter=blob:none", "--", url, commit]
        _git(["-C", folder, *route.options, *fetch])
        listed = _git(["-C", folder, "ls-tree", "-r", "-z", "--full-tree", commit])
    entries = (entry.partition("\t") for entry in listed.split("\0") if entry.startswith(SUBMODULE))
    return {path: what.split()[2] for what, _, path in entries}


def _git(arguments: Sequence[str], seconds: int = ANSWER_SECONDS) -> str:
    """Standard output of a git command that never asks for a password."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, env=environment, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise SilentError(f"no answer within {seconds} s") from None
    except FileNotFoundError:
        raise SdfleetError("git is not installed on this machine") from None
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.strip()]
        if words and NO_CONNECTION.search(words[-1]):
            raise SilentError(words[-1])
        raise SdfleetError(words[-1] if words else f"git ended with status {done.returncode}")
    return done.stdout
