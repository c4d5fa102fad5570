"""What an application is on a host, computed before the host is asked anything."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from roles.managers import Manager
from roles.operations.sources import Source
from roles.paths import Folder, Paths
from roles.settings import SettingError

COMMIT = re.compile(r"[0-9a-f]{40}")
CODE = PurePosixPath("code")
"""The application's own work tree, below its release's folder."""

BUILD_TOOLS = Path(__file__).resolve().parent / "build_tools.txt"
"""Build backends with their hashes; setuptools below 81, whose pkg_resources many an old setup.py imports."""


def build_tools() -> str:
    """Text of the requirements file with everything that takes part in builds."""
    return BUILD_TOOLS.read_text(encoding="utf-8")


class ReleaseError(SettingError):
    """The settings name no release."""


def pinned_commit(role: str, ref: str, commit: str | None, known: Mapping[str, str]) -> str:
    """The commit that an application's ref stands for. Raises ReleaseError if nothing says which.

    + commit: what fleet.lock or the settings say
    + known: refs that need neither
    """
    found = commit or (ref if COMMIT.fullmatch(ref) else known.get(ref))
    if found is None:
        raise ReleaseError(f"{role}.ref", f"{ref!r} is not pinned; give a full commit id, or run `sdfleet lock`")
    return found


@dataclass(frozen=True)
class Environment:
    """All that decides what is in an environment."""

    lock: str
    """Text of a requirements file in which every line has its hashes."""
    python: str
    """Minor version, e.g. 3.11."""
    packages: Mapping[str, Source] = field(default_factory=dict)
    """Packages that no index has, by name; their dependencies must be in the lock."""

    @property
    def key(self) -> str:
        """Name of its folder: 16 hex digits."""
        packages = {name: [source.url, source.commit] for name, source in self.packages.items()}
        whole = json.dumps([self.lock, self.python, packages], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()[:16]

    def folder(self, paths: Paths) -> PurePosixPath:
        """Where it stands on a host."""
        return paths.envs / self.key


@dataclass(frozen=True)
class Release:
    """One immutable build of an application."""

    app: str
    """The application, as Paths.app names it."""
    label: str
    """What a person calls it: the ref."""
    trees: Mapping[PurePosixPath, Source]
    """Work trees, by place below the release's folder; the application's own comes first."""
    environment: Environment

    @property
    def id(self) -> str:
        """Name of its folder: the ref, and a hash of all that is in it."""
        trees = {str(place): [source.url, source.commit] for place, source in self.trees.items()}
        whole = json.dumps([trees, self.environment.key], sort_keys=True)
        label = re.sub(r"[^A-Za-z0-9.]+", "-", self.label)[:20].strip("-.")
        return f"{label}-{hashlib.sha256(whole.encode()).hexdigest()[:12]}"

    def folder(self, paths: Paths) -> PurePosixPath:
        """Where it stands on a host."""
        return paths.releases(self.app) / self.id

    def manifest(self) -> str:
        """manifest.json of its folder."""
        content = {
            "id": self.id,
            "ref": self.label,
            "trees": {str(place): {"url": s.url, "commit": s.commit} for place, s in self.trees.items()},
            "environment": self.environment.key,
            "python": self.environment.python,
        }
        return json.dumps(content, indent=2) + "\n"


@dataclass(frozen=True)
class Application:
    """One application: what it is built of and how, and what runs it. `deployment.deploy` brings a host to it."""

    name: str
    """As Paths.app names it."""
    release: str
    """Name of its release's folder."""
    manifest: str
    """Text of the release's manifest.json."""
    environment: Environment
    keep: int
    """How many releases stay, this one included."""
    manager: Manager
    """The host's service manager, which runs its unit."""
    trees: Mapping[PurePosixPath, Source] = field(default_factory=dict)
    """Work trees by place below the release's folder, parents first."""
    files: Mapping[PurePosixPath, str | bytes] = field(default_factory=dict)
    """Further files by place below it."""
    finish: Sequence[str] = ()
    """Shell commands that complete a release in its building folder; the last one checks it."""
    folders: Sequence[Folder] = ()
    """Folders of its own beside those of all applications, parents first."""
    texts: Mapping[PurePosixPath, str] = field(default_factory=dict)
    """Other files that it reads -> text; put there just before it is switched to."""
    unit: PurePosixPath | None = None
    """File of the unit that serves; None if nothing has to be restarted."""
    unit_text: str = ""
    report: Callable[[], None] | None = None
    """Says what a person should know, after a switch that went well."""

    def place(self, paths: Paths) -> PurePosixPath:
        """The release's folder."""
        return paths.releases(self.name) / self.release
