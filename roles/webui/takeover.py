"""Extensions that an earlier sdfleet checked out into the WebUI's data folder: their settings stay, they go."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pyinfra.context import host
from pyinfra.operations import server

from roles.accounts import WEBUI
from roles.facts.seen import HostSurvey, quoted
from roles.facts.survey import Survey
from roles.paths import UNITS, Paths
from roles.programs import command
from roles.webui.extensions import PROGRAM, kept, shown
from roles.webui.release import EXTENSIONS
from roles.webui.service import UNIT


@dataclass(frozen=True)
class Found:
    """What lies in the WebUI's folder of extensions on a host."""

    old: tuple[str, ...] = ()
    """Checkouts of an sdfleet that put them there."""
    empty: tuple[str, ...] = ()
    """Empty folders: where a release's extension was shown."""
    others: tuple[str, ...] = ()
    """What people installed."""
    kept: frozenset[str] = frozenset()
    """Extensions of which something is kept."""
    needed: frozenset[str] = frozenset()
    """Old checkouts that a release of then, still on the host, would need."""


def find(there: Sequence[str], releases: Sequence[str], paths: Paths) -> Found:
    """Tell apart what is in the folder of extensions.

    + there: names of its folders
    + releases: names of the releases on the host
    """
    if not there:
        return Found()
    folder = shown(paths)
    marks = {name: folder / name / ".git/FETCH_HEAD" for name in there}
    parts = [_part(paths.releases("webui") / release, name) for release in releases for name in there]
    look = [folder / name for name in there]
    seen = host.get_fact(
        Survey, written_by=dict.fromkeys(marks.values(), WEBUI), folders=[*look, kept(paths)], paths=[*look, *parts]
    )
    there = [name for name in there if (entry := seen.entry(folder / name)) and entry.kind == "d"]
    # git notes where a checkout was fetched from: for sdfleet's that is its store on the same host.
    old = [name for name in there if str(paths.git_store) in (seen.text(marks[name]) or "")]
    empty = [name for name in there if not seen.names.get(str(folder / name))]
    lacking = {
        name for release in releases for name in old if not seen.entry(_part(paths.releases("webui") / release, name))
    }
    others = tuple(name for name in there if name not in {*old, *empty})
    return Found(tuple(old), tuple(empty), others, frozenset(seen.names.get(str(kept(paths)), ())), frozenset(lacking))


def _part(release: PurePosixPath, name: str) -> PurePosixPath:
    return release / EXTENSIONS / name


def take_over(found: Found, wanted: Sequence[str], paths: Paths) -> None:
    """Keep the settings of extensions that an earlier sdfleet put into the data folder, and remove what is not wanted.

    A checkout that a release of then needs stays for it, out of sight of the others.

    + found: what lies there
    + wanted: names of the fleet's extensions
    """
    drop = [name for name in found.old if name not in wanted or (name in found.kept and name not in found.needed)]
    keep = [name for name in found.old if name not in found.kept and name not in drop]
    if drop or keep:
        words = command(paths.onhost, PROGRAM, "take", "--store", paths.git_store)
        words += ["--extensions", str(shown(paths)), "--kept", str(kept(paths))]
        words += [*(["--keep", *keep] if keep else []), *(["--drop", *drop] if drop else [])]
        server.shell(name="Take over extensions of before", commands=[quoted(words)])


def remove_places(found: Found, wanted: Sequence[str], paths: Paths) -> None:
    """Remove the empty folders in which a release showed extensions that the fleet names no longer.

    + found: what lies there
    + wanted: names of the fleet's extensions
    """
    if gone := [name for name in found.empty if name not in wanted]:
        words = command(paths.onhost, PROGRAM, "clear", "--extensions", shown(paths), *gone)
        server.shell(name="Remove places of extensions", commands=[quoted(words)])


def old_programs(paths: Paths, seen: HostSurvey) -> Sequence[str]:
    """Programs of an older sdfleet, one file each, unless what has served here would need them after a rollback.

    + seen: a survey that read the unit and the history
    """
    named = [seen.text(place) or "" for place in (UNITS / UNIT, paths.history("webui"))]
    needed = any(str(paths.old_programs) in text for text in named)
    return () if needed else ("webui_service", "webui_door", "webui_options", "webui_picture", "webui_png")
