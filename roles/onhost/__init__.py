"""Programs that run on the hosts: standard library of Python 3.9 and later only, one file each, nothing of ours."""

from pathlib import Path

CHECKOUT = "pinned_checkout"
"""Makes work trees. The base role puts it on every host, and the three that follow."""
ACTIVATE = "activate"
"""Switches from one release to another."""
PRUNE = "prune"
"""Removes old releases."""
BUILD_WHEELS = "build_wheels"
"""Builds packages that have no wheel, confined."""


def source(name: str) -> str:
    """The text of program `name`, to be put on a host."""
    return (Path(__file__).resolve().parent / f"{name}.py").read_text(encoding="utf-8")
