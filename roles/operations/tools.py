"""Tools from the package index, each in a folder of its own below Paths.tools."""

import shlex
from pathlib import PurePosixPath

from roles.facts.seen import HostSurvey
from roles.operations.files import Commands, write
from roles.paths import WITH_MIRRORS, Paths


def tool_record(name: str, version: str, paths: Paths) -> PurePosixPath:
    """The folder whose name shows the installed version of a tool."""
    return paths.tools / f"{name}/{name}-{version}.dist-info"


def put_tool(name: str, lock: str, paths: Paths, seen: HostSurvey, *options: str) -> Commands:
    """The commands that install a tool beside its place with pip in a temporary environment, and rename it.

    + name: of its package and its folder
    + lock: text of a requirements file with its hashes; it may need no other package
    + seen: a survey that looked at its requirements file
    + options: further options of pip
    """
    requirement = paths.tools / f"{name}.txt"
    yield from write(requirement, lock, seen)
    places = (f".{name}-new", f".{name}-pip", f".{name}-old", name)
    new, venv, old, final = (shlex.quote(str(paths.tools / place)) for place in places)
    pip = " ".join([f"{venv}/bin/python -m pip install --quiet --disable-pip-version-check", *options])
    yield "; ".join(
        (
            "set -e",
            "umask 022",
            f"rm -rf {new} {venv} {old}",
            f"python3 -m venv {venv}",
            WITH_MIRRORS,
            f"{pip} --no-deps --require-hashes --target {new} -r {shlex.quote(str(requirement))}",
            f"[ ! -e {final} ] || mv -T {final} {old}",
            f"mv -T {new} {final}",
            f"rm -rf {venv} {old}",
        )
    )
