"""sdfleet's programs as hosts have them: the archive under its name, and the words that start one of them."""

import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from roles import programs

_FOLDER = TemporaryDirectory(prefix="sdfleet-onhost-")


@cache
def archive() -> Path:
    """The installed archive's link."""
    link = Path(_FOLDER.name, "onhost.pyz")
    link.with_name(programs.version()).write_bytes(programs.installed())
    link.symlink_to(programs.version())
    return link


def words(program: str, *arguments: object) -> list[str]:
    """What starts an installed program here."""
    return [sys.executable, "-I", str(archive()), program, *map(str, arguments)]


def send(program: str, *arguments: object, timeout: float = 60) -> "subprocess.CompletedProcess[str]":
    """Run a program as one that is sent to a host."""
    command, text = programs.receiver(*arguments, python=sys.executable), programs.sent(program)
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=timeout)
