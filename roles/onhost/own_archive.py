"""How a program starts another one of the tree or archive that it came in itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TREE = str(Path(__file__).absolute().parents[2])
"""The folder or archive that holds this package; an archive that was sent has no name but its descriptor's."""
INSTALLED = "onhost.pyz"
"""The link to the installed archive, beside it."""
DESCRIPTOR = "/proc/self/fd/"
RUN = (
    "import sys; from importlib import import_module; sys.path.insert(0, sys.argv.pop(1)); "
    "import_module(sys.argv.pop(1)).main()"
)


def words(module: str) -> list[str]:
    """The words after Python's own that start a program, by its module's name; its arguments follow."""
    # An update keeps one older archive; a service that has run for longer starts its children from the present one.
    tree = TREE if Path(TREE).exists() else str(Path(TREE).with_name(INSTALLED))
    return ["-c", RUN, tree, module]


def descriptors() -> Sequence[int]:
    """What a child must inherit to find the program: `pass_fds` of subprocess."""
    return (int(TREE[len(DESCRIPTOR) :]),) if TREE.startswith(DESCRIPTOR) else ()


def run(module: str, data: bytes, python: Sequence[str] = (sys.executable, "-I")) -> subprocess.CompletedProcess[bytes]:
    """Run a program with `data` as its standard input.

    + python: the words of the Python that runs it, perhaps as another user
    """
    command = [*python, *words(module)]
    return subprocess.run(command, input=data, capture_output=True, check=False, pass_fds=descriptors())
