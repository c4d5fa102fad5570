"""Programs that run on the hosts: standard library of Python 3.9 and later only, one file each, nothing of ours."""

from pathlib import Path


def source(name: str) -> str:
    """The text of program `name`, to be put on a host."""
    return (Path(__file__).resolve().parent / f"{name}.py").read_text(encoding="utf-8")
