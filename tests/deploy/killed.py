"""Programs of hosts that are killed just before the N-th thing that they do to files or processes."""

import itertools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from roles import programs
from tests import onhost

DIED = 137
# Audit events come before what they tell of.
PRELUDE = """
import base64, os, runpy, sys
left = int(sys.argv.pop(1))
def hook(event, args):
    global left
    acts = event in {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "subprocess.Popen"}
    if acts or event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
        left -= 1
        if left == 0:
            os._exit(137)
archive = os.memfd_create("program")
os.write(archive, base64.b64decode(sys.stdin.read()))
sys.addaudithook(hook)
runpy.run_path(f"/proc/self/fd/{archive}", run_name="__main__")
"""


def call(module: ModuleType, **values: object) -> str:
    """What calls a module's main on a host, as Remote.call sends it."""
    return programs.called(module.__name__, json.dumps(values))


def run(program: str, *words: str, at: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a program that is sent; killed before the `at`-th of what it does, 0 for never."""
    command = [sys.executable, "-I", "-c", PRELUDE, str(at), *words]
    return subprocess.run(command, input=onhost.sent_with_systemd(program), capture_output=True, text=True, check=False)


def moments(program: str, *words: str) -> Iterator[int]:
    """1, 2, ... : kill the program at each moment in turn; ends after the first run that was not killed.

    The caller brings the world back to its beginning after each.
    """
    for at in itertools.count(1):
        done = run(program, *words, at=at)
        if done.returncode != DIED:
            assert done.returncode == 0, done.stderr
            assert at > 2, "it was never killed"
            return
        yield at


def snapshot(folder: Path) -> dict[str, str]:
    """Every name below a folder -> what it is."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


class World:
    """A folder that can be brought back to how it was."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kept = folder, folder.with_name("kept")
        shutil.copytree(folder, self.kept, symlinks=True, copy_function=_copy)

    def again(self) -> None:
        shutil.rmtree(self.folder)
        shutil.copytree(self.kept, self.folder, symlinks=True, copy_function=_copy)


def _copy(source: str, target: str) -> None:
    shutil.copyfile(source, target, follow_symlinks=False)
