"""Whether an environment has what extensions or custom nodes require: their own installers never run."""

import shlex
from collections.abc import Sequence

from roles.facts.seen import as_user

CHECK_REQUIREMENTS = """
import importlib.metadata, pathlib, sys
files = [file for file in map(pathlib.Path, sys.argv[1:]) if file.exists()]
if not files:
    sys.exit()
from packaging.requirements import InvalidRequirement, Requirement
lacking = []
for file in files:
    for line in file.read_text().splitlines():
        try:
            wanted = Requirement(line.partition("#")[0].strip())
            there = importlib.metadata.version(wanted.name)
        except InvalidRequirement:
            continue
        except importlib.metadata.PackageNotFoundError:
            there = None
        if not (wanted.marker and not wanted.marker.evaluate()) and (there is None or there not in wanted.specifier):
            lacking.append(f"{file.parent.name} needs {wanted}, the environment has {there or 'none'}")
if lacking:
    sys.exit("; ".join(lacking) + "; make a lock with it: sdfleet lock envs")
"""
"""Program for the environment's Python: exits with 1 if packages of requirements.txt files are missing."""


def requirements_met(user: str, files: Sequence[str]) -> list[str]:
    """The command, in a release's build folder, that fails if its environment lacks what these files ask for.

    + user: who runs the environment's Python
    + files: requirements.txt of each, some of which may not exist
    """
    words = ["env/bin/python", "-B", "-c", CHECK_REQUIREMENTS, *files]
    return [f"{as_user(user)} {shlex.join(words)}"] if files else []
