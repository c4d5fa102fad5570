"""Programs that run on the hosts: standard library of Python 3.9 and later only, one file each.

They import nothing of ours but `nofollow`, `confined`, `loopback`, `journal` and `unit_changes`, which travel inside
of them.
"""

import re
from pathlib import Path

CHECKOUT = "pinned_checkout"
"""Makes work trees. The base role puts it on every host, and the three that follow."""
ACTIVATE = "activate"
"""Switches from one release to another."""
PRUNE = "prune"
"""Removes old releases."""
MAKE_FOLDERS = "make_folders"
"""Makes folders; it comes over standard input, as nothing need be on the host before."""
BUILD_WHEELS = "build_wheels"
"""Builds packages that have no wheel, confined."""
TENSOR_NAMES = "tensor_names"
"""Reads the header of a safetensors file, confined."""

FOLDER = Path(__file__).resolve().parent
IMPORT = re.compile(r"^from roles\.onhost import ([\w, ]+)\n", re.MULTILINE)
INSIDE = """import types as _types

{name} = _types.ModuleType("{name}")
exec(compile({text!r}, "{name}.py", "exec"), vars({name}))
"""


def source(name: str) -> str:
    """The text of program `name`, to be put on a host."""
    return whole(text_of(name))


def whole(text: str) -> str:
    """A program's text with each module of this package in the place of the line that imports it."""
    return IMPORT.sub(lambda line: "".join(_inside(name) for name in line[1].split(", ")), text)


def _inside(name: str) -> str:
    return INSIDE.format(name=name, text=text_of(name))


def text_of(name: str) -> str:
    """The text of a module of this package, as it is."""
    return (FOLDER / f"{name}.py").read_text(encoding="utf-8")
