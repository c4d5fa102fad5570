"""Which lock of a folder fits a host: its name tells the application's version, the Python and the torch build."""

import re
from collections.abc import Iterator
from pathlib import Path

CPU = "cpu"
"""The torch build for hosts without a GPU."""


class LockError(ValueError):
    """No lock fits; the text is for a person."""


def lock_name(version: str, python: str, build: str) -> str:
    """File name of a lock, e.g. v1.10.1-py3.11-cu121.txt; a version of "" is left out."""
    return "-".join(filter(None, (version, f"py{python}", build))) + ".txt"


def fitting(folder: Path, version: str, python: str, build: str, for_cpu: str) -> Path:
    """The lock for one torch build; LockError, which says what there is, if there is none.

    A CPU host without a lock of its own takes `for_cpu`'s: CUDA's wheels compute on CPUs as well, and the public
    package index has no other for x86-64.
    """
    if (exact := folder / lock_name(version, python, build)).is_file():
        return exact
    if build == CPU and (instead := folder / lock_name(version, python, for_cpu)).is_file():
        return instead
    what = f"{version} with Python {python} and torch's {build} build".removeprefix(" with ")
    known = sorted(folder.glob("*.txt"))
    names = ", ".join(path.stem for path in known) or "none"
    near = sorted((path for path in known if f"py{python}-" in path.name), key=lambda path: build not in path.stem)
    other = f', or name one whose packages fit: requirements = "{near[0]}"' if near else ""
    raise LockError(
        f"there is no lock for {what} in {folder} (there are {names}); `sdfleet lock envs` makes locks{other}"
    )


def lock_text(place: Path, version: str, python: str, build: str, for_cpu: str) -> str:
    """The text of a lock: of this file, or of the fitting one of this folder. LockError if there is none."""
    try:
        file = fitting(place, version, python, build, for_cpu) if place.is_dir() else place
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise LockError(f"cannot read {place}: {error.strerror}") from error


def build_of_pytorchs_own(lock: str) -> str:
    """The torch build in the text of a lock, if it is one that only PyTorch's own index has (torch==2.9.1+cu130)."""
    found = re.search(r"^torch==[\w.]+\+(\w+)", lock, re.MULTILINE)
    return found[1] if found else ""


def torch_version(lock: str) -> str:
    """The version of torch that the text of a lock names; empty if it names none."""
    found = re.search(r"^torch==([\w.+]+)", lock, re.MULTILINE)
    return found[1] if found else ""


def builds(folder: Path, version: str, python: str) -> tuple[str, ...]:
    """Every torch build that a host may get from `folder`, the CPU's included; empty if there is no lock at all."""
    there = tuple(_builds(folder, version, python))
    return tuple(dict.fromkeys((CPU, *there))) if there else ()


def _builds(folder: Path, version: str, python: str) -> Iterator[str]:
    begin = lock_name(version, python, "").removesuffix(".txt") + "-"
    for path in sorted(folder.glob(f"{begin}*.txt")):
        yield path.stem.removeprefix(begin)
