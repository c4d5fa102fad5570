"""Programs that run on the hosts: standard library of Python 3.9 and later only, one file each.

They import nothing of ours but `nofollow`, which travels inside of them.
"""

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

FOLDER = Path(__file__).resolve().parent
IMPORT = "from roles.onhost import nofollow\n"
INSIDE = """import types as _types

nofollow = _types.ModuleType("nofollow")
exec(compile({text!r}, "nofollow.py", "exec"), vars(nofollow))
"""


def source(name: str) -> str:
    """The text of program `name`, to be put on a host."""
    return whole((FOLDER / f"{name}.py").read_text(encoding="utf-8"))


def whole(text: str) -> str:
    """A program's text with `nofollow` in the place of the line that imports it."""
    if IMPORT not in text:
        return text
    return text.replace(IMPORT, INSIDE.format(text=nofollow_text()))


def nofollow_text() -> str:
    """What `nofollow` consists of."""
    return (FOLDER / "nofollow.py").read_text(encoding="utf-8")
