"""Code at pinned commits."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from roles.facts.seen import HostSurvey
from roles.paths import WITH_MIRRORS, Paths
from roles.programs import command

GIT_TRUST = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
"""Environment of a service that asks git for the commit of its code: the trees are root's, and git would refuse."""


@dataclass(frozen=True)
class Source:
    """A git repository at one commit."""

    url: str
    commit: str
    tag: str = ""
    """What the commit is called, so that an application that asks git for its version gets an answer."""


def checkout_command(source: Source, tree: PurePosixPath, paths: Paths) -> str:
    """The command that makes `tree` a work tree of `source`, or leaves what is there as it is and fails."""
    words = ["--store", paths.git_store, "--url", source.url, "--commit", source.commit, "--tree", tree]
    words += ["--tag", source.tag] if source.tag else []
    return f"umask 022; {WITH_MIRRORS}; {shlex.join(command(paths.onhost, 'pinned_checkout', *words))}"


def intact(trees: Mapping[PurePosixPath, Source], seen: HostSurvey) -> bool:
    """Whether every work tree is there, at its commit and unchanged."""
    found = [seen.trees.get(str(place)) for place in trees]
    wanted = [tree.commit for tree in trees.values()]
    return all(tree and tree.commit == commit and not tree.dirty for tree, commit in zip(found, wanted, strict=True))
