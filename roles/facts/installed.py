"""Compares the packages of a Python environment on a host with its lock."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from testinfra.host import Host

from roles.facts.seen import as_user
from roles.operations.application import Environment
from roles.paths import Paths

LISTING = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)(?=[\s\\]|$)(?! *;)", re.MULTILINE)
"""A line of a lock that applies to every machine: one with a marker may not apply to this one."""


def unlike_lock(host: Host, python: PurePosixPath, user: str, lock: str, further: Sequence[str] = ()) -> str:
    """Packages of a lock, and `further` ones, that are missing or have another version; empty if there are none.

    + python: the environment's interpreter, run as `user`, since packages can run code at its start
    """
    said = host.check_output(f"{as_user(user)} %s -IB -c %s", str(python), LISTING)
    installed = {_normal(word) for word in said.split()}
    wanted = (f"{name}=={version}" for name, version in PINNED.findall(lock))
    wrong = [pin for pin in wanted if _normal(pin) not in installed]
    names = {word.partition("==")[0] for word in installed}
    lacking = [name for name in further if _normal(name) not in names]
    return f"missing or of another version: {', '.join([*wrong, *lacking][:5])}" if wrong or lacking else ""


def check_environment(host: Host, environment: Environment, paths: Paths, user: str) -> None:
    """AssertionError unless an environment holds what its lock says; `user` runs its Python."""
    python = environment.folder(paths) / "bin/python"
    assert host.file(str(python)).exists, f"{python} is missing"
    wrong = unlike_lock(host, python, user, environment.lock, list(environment.packages))
    assert not wrong, wrong


def _normal(requirement: str) -> str:
    """A distribution's name (PEP 503) with its version."""
    name, _, version = requirement.partition("==")
    name = re.sub(r"[-_.]+", "-", name).lower()
    return f"{name}=={version}" if version else name
