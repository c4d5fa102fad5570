"""Extensions of the fleet: part of the release, and shown to the WebUI beside those that people install."""

import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath

from roles.operations.application import Release
from roles.paths import Paths
from roles.programs import command
from roles.webui.release import EXTENSIONS

PROGRAM = "webui_extensions"
"""The program of roles.onhost that takes over and shows what extensions keep."""
KEPT = "extensions-kept"
"""Folder below the WebUI's data folder: settings and models of extensions, which every release gets to see."""


def shown(paths: Paths) -> PurePosixPath:
    """Where the WebUI looks for extensions: what people install lies there."""
    return paths.data("webui") / "extensions"


def kept(paths: Paths) -> PurePosixPath:
    """Where what extensions keep beside their own files is kept."""
    return paths.data("webui") / KEPT


def names(release: Release) -> list[str]:
    """Names of a release's extensions."""
    return [place.name for place in release.trees if place.parent == EXTENSIONS]


def mounts(release: Release, paths: Paths) -> Mapping[PurePosixPath, PurePosixPath]:
    """Each extension's folder in the release -> where the WebUI sees it. So they come and go with the unit."""
    return {release.folder(paths) / EXTENSIONS / name: shown(paths) / name for name in names(release)}


def kept_shown(release: Release, paths: Paths) -> list[str]:
    """Commands that show a release in its building folder what its extensions keep."""
    pairs = [(kept(paths) / name, EXTENSIONS / name) for name in names(release)]
    return [shlex.join(command(paths.onhost, PROGRAM, "show", "--kept", a, "--tree", b)) for a, b in pairs]
