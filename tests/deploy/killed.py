"""Programs of hosts that are killed just before the N-th thing that they do to files or processes."""

import inspect
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from roles.onhost import whole

DIED = 137
# Audit events come before what they tell of.
PRELUDE = """
import os, sys
left = int(sys.argv.pop(1))
def hook(event, args):
    global left
    acts = event in {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "subprocess.Popen"}
    if acts or event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
        left -= 1
        if left == 0:
            os._exit(137)
program = compile(sys.stdin.read(), "program", "exec")
sys.addaudithook(hook)
exec(program, {"__name__": "__main__"})
"""


def call(module: ModuleType, **values: object) -> str:
    """The text that calls a module's main on a host, as Remote.call sends it."""
    given = f"json.loads({json.dumps(values)!r})"
    return f"{whole(inspect.getsource(module))}\nimport json\nprint(json.dumps(main(**{given})))"


def run(program: str, *words: str, at: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a program's text; killed before the `at`-th of what it does, 0 for never."""
    command = [sys.executable, "-I", "-c", PRELUDE, str(at), *words]
    return subprocess.run(command, input=program, capture_output=True, text=True, check=False)


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
