"""Migrates extensions that earlier versions checked out into the WebUI's data folder: their settings are kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pyinfra.api.exceptions import DeployError
from pyinfra.context import host
from pyinfra.operations import server

from roles.accounts import WEBUI
from roles.facts.seen import HostSurvey, quoted
from roles.facts.survey import Survey
from roles.paths import UNITS, Paths
from roles.programs import command
from roles.webui.extensions import PROGRAM, kept, link_target, shown
from roles.webui.release import EXTENSIONS
from roles.webui.service import UNIT


@dataclass(frozen=True)
class FoundExtensions:
    """Contents of the WebUI's folder of extensions on a host."""

    old: tuple[str, ...] = ()
    """Checkouts of an earlier version of sdfleet."""
    empty: tuple[str, ...] = ()
    """Empty folders: mount points of a release's extensions."""
    others: tuple[str, ...] = ()
    """Extensions that users installed."""
    kept: frozenset[str] = frozenset()
    """Extensions with kept files."""
    linked: frozenset[str] = frozenset()
    """Extensions of the fleet that are linked, where they cannot be mounted."""
    needed: frozenset[str] = frozenset()
    """Old checkouts that an old release, still on the host, would need."""
    built: frozenset[str] = frozenset()
    """Linked ones that a release on the host has."""


def find_extensions(there: Sequence[str], releases: Sequence[str], paths: Paths) -> FoundExtensions:
    """Classify the contents of the folder of extensions.

    + there: names of its folders
    + releases: names of the releases on the host
    """
    if not there:
        return FoundExtensions()
    folder = shown(paths)
    marks = {name: folder / name / ".git/FETCH_HEAD" for name in there}
    parts = [_part(paths.releases("webui") / release, name) for release in releases for name in there]
    look = [folder / name for name in there]
    seen = host.get_fact(
        Survey, written_by=dict.fromkeys(marks.values(), WEBUI), folders=[*look, kept(paths)], paths=[*look, *parts]
    )
    entries = {name: entry for name in there if (entry := seen.entry(folder / name))}
    linked = {name for name, entry in entries.items() if entry.target == str(link_target(name, paths))}
    there = [name for name, entry in entries.items() if entry.kind == "d"]
    # git records where a checkout was fetched from: for sdfleet's that is its store on the same host.
    old = [name for name in there if str(paths.git_store) in (seen.text(marks[name]) or "")]
    empty = [name for name in there if not seen.names.get(str(folder / name))]
    lacking = {
        name for release in releases for name in old if not seen.entry(_part(paths.releases("webui") / release, name))
    }
    others = tuple(name for name in there if name not in {*old, *empty})
    have = frozenset(seen.names.get(str(kept(paths)), ()))
    built = {
        name for release in releases for name in linked if seen.entry(_part(paths.releases("webui") / release, name))
    }
    return FoundExtensions(
        tuple(old), tuple(empty), others, have, frozenset(linked), frozenset(lacking), frozenset(built)
    )


def _part(release: PurePosixPath, name: str) -> PurePosixPath:
    return release / EXTENSIONS / name


def take_over_extensions(found: FoundExtensions, wanted: Sequence[str], paths: Paths) -> None:
    """Keep the settings of extensions that an earlier version put into the data folder, and remove unwanted checkouts.

    A checkout that an old release needs is kept for it; other releases do not see it.

    + found: contents of the folder
    + wanted: names of the fleet's extensions
    """
    drop = [name for name in found.old if name not in wanted or (name in found.kept and name not in found.needed)]
    keep = [name for name in found.old if name not in found.kept and name not in drop]
    if drop or keep:
        words = command(paths.onhost, PROGRAM, "take", "--store", paths.git_store)
        words += ["--extensions", str(shown(paths)), "--kept", str(kept(paths))]
        words += [*(["--keep", *keep] if keep else []), *(["--drop", *drop] if drop else [])]
        server.shell(name="Take over existing extensions", commands=[quoted(words)])


def link_extensions(found: FoundExtensions, wanted: Sequence[str], paths: Paths) -> None:
    """Link the fleet's extensions for a WebUI for which nothing can be mounted; before a release that has them starts.

    The folder is root's, in one from which no service can take it away.
    """
    places = {name: shown(paths) / name for name in wanted if name not in found.linked}
    if taken := [str(places[name]) for name in (*found.old, *found.empty, *found.others) if name in places]:
        raise DeployError(f"{', '.join(taken)}: the fleet's extension of that name needs the place; move it away")
    if places:
        commands = [f"ln -sfT {quoted([link_target(name, paths), place])}" for name, place in places.items()]
        server.shell(name="Link extensions", commands=commands)


def unlink_extensions(found: FoundExtensions, wanted: Sequence[str], paths: Paths) -> None:
    """Remove the links of extensions that neither the fleet nor a release has to which the host may go back."""
    if gone := sorted(found.linked - found.built - set(wanted)):
        commands = [f"rm -f {quoted([shown(paths) / name])}" for name in gone]
        server.shell(name="Remove links of removed extensions", commands=commands)


def remove_mount_points(found: FoundExtensions, wanted: Sequence[str], paths: Paths) -> None:
    """Remove the empty mount points of extensions that the fleet no longer has.

    + found: contents of the folder
    + wanted: names of the fleet's extensions
    """
    if gone := [name for name in found.empty if name not in wanted]:
        words = command(paths.onhost, PROGRAM, "clear", "--extensions", shown(paths), *gone)
        server.shell(name="Remove mount points of removed extensions", commands=[quoted(words)])


def old_programs(paths: Paths, seen: HostSurvey) -> Sequence[str]:
    """Programs of an older sdfleet, one file each, unless what has served here would need them after a rollback.

    + seen: a survey that read the unit and the history
    """
    named = [seen.text(place) or "" for place in (UNITS / UNIT, paths.history("webui"))]
    needed = any(str(paths.old_programs) in text for text in named)
    return () if needed else ("webui_service", "webui_door", "webui_options", "webui_picture", "webui_png")
