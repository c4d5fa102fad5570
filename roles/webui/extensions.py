"""Extensions of the fleet: part of the release, shown to the WebUI beside those that users install.

systemd mounts each of them; where it does not run, links lead to those of the release in use.
"""

import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath

from roles.operations.application import Release
from roles.paths import Paths
from roles.programs import command
from roles.webui.release import EXTENSIONS

PROGRAM = "webui_extensions"
"""The program of roles.onhost that keeps extensions' own files and links them into releases."""
KEPT = "extensions-kept"
"""Folder below the WebUI's data folder: settings and models of extensions, shared by all releases."""


def shown(paths: Paths) -> PurePosixPath:
    """The WebUI's folder of extensions, with those that users install."""
    return paths.data("webui") / "extensions"


def kept(paths: Paths) -> PurePosixPath:
    """The folder of files that extensions keep beside their own code."""
    return paths.data("webui") / KEPT


def names(release: Release) -> list[str]:
    """Names of a release's extensions."""
    return [place.name for place in release.trees if place.parent == EXTENSIONS]


def mounts(release: Release, paths: Paths) -> Mapping[PurePosixPath, PurePosixPath]:
    """Each extension's folder in the release -> its mount point for the WebUI. They come and go with the unit."""
    return {release.folder(paths) / EXTENSIONS / name: shown(paths) / name for name in names(release)}


def link_target(name: str, paths: Paths) -> PurePosixPath:
    """Where the link to an extension leads: to that of the release in use, so that a rollback takes it along."""
    return paths.current("webui") / EXTENSIONS / name


def kept_shown(release: Release, paths: Paths) -> list[str]:
    """Commands that link the extensions' kept files into a release in its build folder."""
    pairs = [(kept(paths) / name, EXTENSIONS / name) for name in names(release)]
    return [shlex.join(command(paths.onhost, PROGRAM, "show", "--kept", a, "--tree", b)) for a, b in pairs]
