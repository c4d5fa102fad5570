"""What is installed in a Python environment on a host, against the lock that it was made from."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from testinfra.host import Host

from roles.facts.seen import as_user

LISTING = "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)(?=[\s\\]|$)(?! *;)", re.MULTILINE)
"""A line of a lock that holds on every machine: one with a marker may not be meant for this one."""


def unlike_lock(host: Host, python: PurePosixPath, user: str, lock: str, further: Sequence[str] = ()) -> str:
    """What of a lock, and of `further` packages, an environment lacks or has in another version; empty if nothing.

    + python: the environment's interpreter, asked as `user`, since packages add to its start
    """
    said = host.check_output(f"{as_user(user)} %s -IB -c %s", str(python), LISTING)
    installed = {_normal(word) for word in said.split()}
    wanted = (f"{name}=={version}" for name, version in PINNED.findall(lock))
    wrong = [pin for pin in wanted if _normal(pin) not in installed]
    names = {word.partition("==")[0] for word in installed}
    lacking = [name for name in further if _normal(name) not in names]
    return f"missing or of another version: {', '.join([*wrong, *lacking][:5])}" if wrong or lacking else ""


def _normal(requirement: str) -> str:
    """A distribution's name (PEP 503) with its version."""
    name, _, version = requirement.partition("==")
    name = re.sub(r"[-_.]+", "-", name).lower()
    return f"{name}=={version}" if version else name
