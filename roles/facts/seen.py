"""What is known of a host: the plain data that a survey brings home, and that roles decide by."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath

Path = str | PurePath

INVENTORY = ".inventory"
"""File of a built folder that holds what `inventory_command` printed when it was whole."""


@dataclass(frozen=True)
class Entry:
    """What stands at a path; a link is not followed."""

    kind: str
    """find's letter: f file, d folder, l link."""
    owner: str
    group: str
    mode: int
    target: str = ""
    """Where a link points, as written in it."""


@dataclass(frozen=True)
class Tree:
    """A git work tree."""

    commit: str
    dirty: bool
    """Whether a tracked file differs from the commit, submodules included."""


@dataclass(frozen=True)
class Unit:
    """A unit of the host's service manager."""

    loaded: bool
    enabled: bool
    active: bool
    """Started, and ready if the unit tells when it is."""
    stale: bool
    """Whether its file changed since the manager read it."""


@dataclass(frozen=True)
class Disk:
    """A file system."""

    mount: str
    """Its mount point."""
    free_bytes: int


@dataclass
class HostSurvey:
    """What one survey found; a path, package, user or unit that is not in it does not exist."""

    entries: dict[str, Entry] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    packages: set[str] = field(default_factory=set)
    users: dict[str, str] = field(default_factory=dict)
    """User name -> home."""
    units: dict[str, Unit] = field(default_factory=dict)
    trees: dict[str, Tree] = field(default_factory=dict)
    names: dict[str, list[str]] = field(default_factory=dict)
    """Folder -> names of what is in it."""
    belonging: dict[str, list[str]] = field(default_factory=dict)
    """Folder -> names of those folders in it that belong to the user asked for."""
    holding: dict[str, list[str]] = field(default_factory=dict)
    """Folder -> names of those folders in it that have the file asked for."""
    digests: dict[str, str] = field(default_factory=dict)
    """File -> sha256 of its content."""
    broken: set[str] = field(default_factory=set)
    """Folders whose files are not those that their inventory names."""
    disks: dict[str, Disk] = field(default_factory=dict)
    """Path -> the disk that has it, or would have it."""
    os_id: str = ""
    codename: str = ""

    def entry(self, path: Path) -> Entry | None:
        """What stands at `path`."""
        return self.entries.get(str(path))

    def text(self, path: Path) -> str | None:
        """The content of the text file at `path`."""
        return self.texts.get(str(path))

    def digest(self, path: Path) -> str | None:
        """The sha256 of the file at `path`, or that the link there leads to."""
        return self.digests.get(str(path))

    def whole(self, path: Path) -> bool:
        """Whether the folder at `path` is there, with all files it was built with."""
        return str(path) in self.entries and str(path) not in self.broken

    def unit(self, name: str) -> Unit:
        """The state of unit `name`."""
        return self.units.get(name, Unit(loaded=False, enabled=False, active=False, stale=False))


def inventory_command(folder: Path) -> str:
    """The command that prints a digest of the names of all files in `folder` but compiled ones; it opens none."""
    names = f"find {quoted([folder])} -type f ! -name {INVENTORY} ! -name '*.pyc' -printf '%P\\0'"
    # One name a line, as in the digests that hosts keep since earlier versions: a line break within a name is none.
    return f"{names} | LC_ALL=C sort -z | tr '\\n\\0' '\\001\\n' | sha256sum"


def quoted(words: Iterable[Path]) -> str:
    """Paths as words of a shell command."""
    return " ".join(shlex.quote(str(word)) for word in words)


def as_user(user: str) -> str:
    """The first words of a shell command that runs as a service's user: with its rights alone, and no way to more."""
    return f"setpriv --reuid={user} --regid={user} --clear-groups --no-new-privs --"
