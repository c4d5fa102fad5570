"""Which lock of a folder fits a host: its name tells the application's version, the Python and the torch build."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from roles.operations.application import ReleaseError

CPU = "cpu"
"""The torch build for hosts without a GPU."""
Device = Literal["cpu", "cuda"]
"""What an application computes on."""


def device_of(build: str) -> Device:
    """What an application with torch's `build` computes on."""
    return "cpu" if build == CPU else "cuda"


def lock_name(version: str, python: str, build: str) -> str:
    """File name of a lock, e.g. v1.10.1-py3.11-cu121.txt; a version of "" is left out."""
    return "-".join(filter(None, (version, f"py{python}", build))) + ".txt"


@dataclass(frozen=True)
class Locks:
    """The locks of an application's environment, as its settings say."""

    role: str
    place: Path
    """A folder of them, or one for all hosts."""
    version: str
    """Prefix of their names; empty if they have none."""
    python: str
    for_cpu: str
    """The build whose lock serves CPU hosts: CUDA's wheels compute on CPUs as well, and the public package index has
    no other for x86-64."""
    torch: str = "auto"
    """The build for all hosts, or auto."""

    def builds(self) -> tuple[str, ...]:
        """Every torch build that a host may get, the CPU's included."""
        if not self.place.is_dir():
            return (CPU,)
        if self.torch != "auto":
            return (self.torch,)
        begin = lock_name(self.version, self.python, "").removesuffix(".txt") + "-"
        return tuple(dict.fromkeys((CPU, *(path.stem.removeprefix(begin) for path in self._named(f"{begin}*.txt")))))

    def text(self, build: str) -> str:
        """The text of the lock for a host with torch's `build`. Raises ReleaseError, which says what there is."""
        wanted = build if self.torch == "auto" else self.torch
        try:
            file = self._fitting(wanted) if self.place.is_dir() else self.place
            return file.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise self._error(f"{self.place} does not exist") from error
        except OSError as error:
            raise self._error(f"cannot read {self.place}: {error.strerror}") from error

    def _fitting(self, build: str) -> Path:
        if (exact := self.place / lock_name(self.version, self.python, build)).is_file():
            return exact
        if build == CPU and (instead := self.place / lock_name(self.version, self.python, self.for_cpu)).is_file():
            return instead
        what = f"{self.version} with Python {self.python} and torch's {build} build".removeprefix(" with ")
        known = self._named("*.txt")
        names = ", ".join(path.stem for path in known) or "none"
        near = sorted((path for path in known if f"py{self.python}-" in path.name), key=lambda at: build not in at.stem)
        other = f', or name one whose packages fit: requirements = "{near[0]}"' if near else ""
        raise self._error(
            f"there is no lock for {what} in {self.place} (there are {names}); `sdfleet lock envs` makes locks{other}"
        )

    def _named(self, pattern: str) -> list[Path]:
        return sorted(self.place.glob(pattern))

    def _error(self, says: str) -> ReleaseError:
        return ReleaseError(f"{self.role}.requirements", says)


def build_of_pytorchs_own(lock: str) -> str:
    """The torch build in the text of a lock, if it is one that only PyTorch's own index has (torch==2.9.1+cu130)."""
    found = re.search(r"^torch==[\w.]+\+(\w+)", lock, re.MULTILINE)
    return found[1] if found else ""


OVERRIDES = "# Overrides: "
"""Start of the line in a lock that names versions which hold although a package asks for others."""


def overridden(lock: str) -> list[str]:
    """The packages in the text of a lock that have another version than a package asks for."""
    found = re.search(rf"^{OVERRIDES}(.*)", lock, re.MULTILINE)
    return re.findall(r"([A-Za-z0-9][A-Za-z0-9._-]*)==", found[1]) if found else []


def torch_version(lock: str) -> str:
    """The version of torch that the text of a lock names; empty if it names none."""
    found = re.search(r"^torch==([\w.+]+)", lock, re.MULTILINE)
    return found[1] if found else ""
