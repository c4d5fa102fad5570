"""sdfleet's programs as hosts have them: the archive under its name, and the words that start one of them."""

import base64
import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from roles import programs
from roles.onhost.init import BOOTED

_FOLDER = TemporaryDirectory(prefix="sdfleet-onhost-")


def with_systemd(packed: bytes) -> bytes:
    """An archive for which this machine has systemd as process 1: tests stand in for systemctl alone."""
    return changed(packed, lambda text: text.replace(str(BOOTED), _FOLDER.name))


def changed(packed: bytes, change: Callable[[str], str]) -> bytes:
    """An archive with other texts."""
    files = zipfile.ZipFile(io.BytesIO(packed))
    return programs.zipped({name: change(files.read(name).decode()) for name in files.namelist()})


def sent_with_systemd(text: str) -> str:
    """The same of what `programs.sent` or `programs.called` made."""
    return base64.b64encode(with_systemd(base64.b64decode(text))).decode()


@cache
def archive() -> Path:
    """The installed archive's link."""
    link = Path(_FOLDER.name, "onhost.pyz")
    link.with_name(programs.version()).write_bytes(with_systemd(programs.installed()))
    link.symlink_to(programs.version())
    return link


def words(program: str, *arguments: object) -> list[str]:
    """What starts an installed program here."""
    return [sys.executable, "-I", str(archive()), program, *map(str, arguments)]


def send(program: str, *arguments: object, timeout: float = 60) -> "subprocess.CompletedProcess[str]":
    """Run a program as one that is sent to a host."""
    command, text = programs.receiver(*arguments, python=sys.executable), programs.sent(program)
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=timeout)
