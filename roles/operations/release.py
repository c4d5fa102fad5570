"""Immutable releases of an application: built beside, checked, renamed when whole, switched to, pruned."""

import contextlib
import json
import shlex
import time
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from gevent.lock import BoundedSemaphore
from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State
from pyinfra.context import host

from roles.facts.seen import HostSurvey, quoted
from roles.managers import Manager
from roles.onhost import prune, unit_changes
from roles.operations.application import Application
from roles.operations.files import Commands, or_remove, put, replace
from roles.operations.sources import checkout_command
from roles.paths import HISTORY, Paths
from roles.programs import command

MANIFEST = prune.MANIFEST
"""File of a release that says what is in it: the same text for the same release, whoever builds it."""

LEFTOVERS = (".building", ".old")
"""Ends of the names of folders that an interrupted build left."""

TOLD = 100
"""Characters of what changes in a unit that stand in an operation's name; a new sdfleet may change all of it."""

BUILT = "built.json"
"""File of a release that says who built it, when, and from which lock."""


@dataclass(frozen=True)
class Origin:
    """Who builds a release, and from what: part of no comparison, since the same release may be built by anybody."""

    by: str = ""
    """user@machine of the controller."""
    lock: str = ""
    """sha256 of fleet.lock; empty if there is none."""


def origin() -> Origin:
    """What the inventory says of the controller of this run."""
    return Origin(**(host.data.origin or {}))


def provenance() -> str:
    """built.json of a release: who built it, when, and from which lock."""
    return json.dumps({**asdict(origin()), "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}) + "\n"


@operation()
def build_release(app: Application, whole: bool, paths: Paths) -> Commands:
    """
    Build a release and give it its name when all checks are passed; a broken one of that name is replaced.

    + app: what it is made of
    + whole: whether it stands there already, as it should be
    + paths: the host's paths
    """
    if whole:
        host.noop(f"release {app.release} is built")
        return
    final = app.place(paths)
    build = final.with_name(f".{final.name}.building")
    folders = sorted({build, *((build / place).parent for place in app.files)})
    yield f"umask 022; rm -rf {quoted([build])} && mkdir -p {quoted(folders)}"
    for place, source in app.trees.items():
        yield or_remove(checkout_command(source, build / place, paths), build)
    for place, content in app.files.items():
        yield put(build / place, content)
    yield or_remove(f"umask 022; cd {quoted([build])} && " + " && ".join(app.finish), build)
    yield put(build / BUILT, provenance())
    yield put(build / MANIFEST, app.manifest)
    yield replace(build, final)


class Switch(StringCommand):
    """A command during which a service is away: no more of them run at once than `limit_switches` allows."""

    def __init__(self, *bits: Any, unit: PurePosixPath | None, manager: Manager, **arguments: Any) -> None:
        super().__init__(*bits, **arguments)
        self.unit, self.manager = unit, manager

    def execute(self, state: State, host: Host, connector_arguments: Any) -> Any:
        if self.unit is None or not self._serves(host, connector_arguments):
            return super().execute(state, host, connector_arguments)
        with _turns[-1] if _turns else contextlib.nullcontext():
            return super().execute(state, host, connector_arguments)

    def _serves(self, host: Host, arguments: Any) -> bool:
        """Whether there is a service that would be missed: the first one of a host need not wait for its turn."""
        assert self.unit is not None
        serves, _ = host.run_shell_command(self.manager.is_active(self.unit.name), **arguments)
        return serves


_turns: list[BoundedSemaphore] = []


def limit_switches(count: int) -> None:
    """Let at most `count` hosts of this run be without their service at once. For the engine's process."""
    _turns.append(BoundedSemaphore(count))


def activate(
    paths: Paths,
    home: PurePosixPath,
    release: str,
    manager: Manager,
    unit: PurePosixPath | None = None,
    text: PurePosixPath | None = None,
) -> Switch:
    """
    The command that switches an application to `release` and restarts its unit, or goes back and fails.

    + home: folder with the application's releases/ and current
    + unit: the unit's file; None for an application without a service
    + text: file on the host with the unit's new text
    """
    words = ["--app", home, "switch", "--release", release]
    if unit and text:
        words += ["--unit", unit, "--text", text]
    switch = shlex.join(command(paths.onhost, "activate", *words, "--by", origin().by))
    return Switch(switch, unit=unit, manager=manager)


def note(paths: Paths, home: PurePosixPath, unit: PurePosixPath | None = None) -> str:
    """The command that writes down that what runs now serves."""
    words = ["--app", home, "note", *(["--unit", unit] if unit else []), "--by", origin().by]
    return shlex.join(command(paths.onhost, "activate", *words))


def recorded(home: PurePosixPath, release: str, text: str, seen: HostSurvey) -> bool:
    """
    Whether the host's history says that `release` serves.

    + text: of its unit, "" for an application without a service
    + seen: a survey that has the history among its texts
    """
    try:
        known = json.loads(seen.text(home / HISTORY) or "")
        last = known["served"][-1]
        return bool(known["trying"] is None and (last["release"], last["text"]) == (release, text))
    except (ValueError, LookupError):
        return False


@operation()
def switch(app: Application, paths: Paths, sound: bool, seen: HostSurvey) -> Commands:
    """
    Switch an application to its release and its unit, and go back if that does not become ready.

    + app: the application
    + paths: the host's paths
    + sound: whether what runs, if it is this release, may stay as it is
    + seen: a survey that looked at the unit, its file, the link `current` and the history
    """
    running = sound and serves(paths.app(app.name), app.release, app.unit, app.unit_text, seen)
    home = paths.app(app.name)
    yield from run_release(home, app.release, app.unit, app.unit_text, paths, running, seen, app.manager)
    if app.report and not running:
        app.report()


def run_release(
    home: PurePosixPath,
    release: str,
    unit: PurePosixPath | None,
    text: str,
    paths: Paths,
    running: bool,
    seen: HostSurvey,
    manager: Manager,
) -> Commands:
    """The commands that switch to a release and its unit, or write down that they serve.

    + home: folder with the application's releases/ and current
    + unit, text: the unit's file and its wanted text; None and "" for an application without a service
    + running: whether all of it is so already
    """
    if running and recorded(home, release, text, seen):
        host.noop(f"release {release} runs")
    elif running:
        yield note(paths, home, unit)
    elif unit is None:
        yield activate(paths, home, release, manager)
    else:
        new = home / f".{unit.name}"
        yield put(new, text)
        yield activate(paths, home, release, manager, unit, new)


def in_use(home: PurePosixPath, release: str, seen: HostSurvey) -> bool:
    """Whether the link `current` leads to a release.

    + home: folder with the application's releases/ and current
    + seen: a survey that looked at the link
    """
    current = seen.entry(home / "current")
    return current is not None and current.target == f"releases/{release}"


def run_name(app: Application, paths: Paths, seen: HostSurvey) -> str:
    """
    What `switch` is called: the release, and what changes in the way it runs where it is the one in use.

    + app: the application
    + seen: a survey that looked at the unit's file and the link `current`
    """
    name, before = f"Run release {app.release}", seen.text(app.unit) if app.unit else None
    if before in (None, app.unit_text) or not in_use(paths.app(app.name), app.release, seen):
        return name
    changed = unit_changes.told(before, app.unit_text)
    return f"{name} {changed if 0 < len(changed) <= TOLD else 'with other settings'}"


def serves(home: PurePosixPath, release: str, unit: PurePosixPath | None, text: str, seen: HostSurvey) -> bool:
    """
    Whether a release is in use, and its service, if it has one, runs as wanted and would come back after a reboot.

    + seen: a survey that looked at the unit, its file and the link `current`
    """
    if not in_use(home, release, seen):
        return False
    state = seen.unit(unit.name) if unit else None
    return unit is None or bool(
        state and state.active and state.enabled and not state.stale and seen.text(unit) == text
    )


@operation()
def prune_releases(
    home: PurePosixPath,
    keep: int,
    current: str,
    paths: Paths,
    seen: HostSurvey,
    mark: str = MANIFEST,
    environments: PurePosixPath | None = None,
) -> Commands:
    """
    Remove the oldest releases, what interrupted builds left, and environments that nothing needs any more.

    One too many stays until the next switch: the host might have put it back, or a training runs from it.

    + home: folder with releases/ and current
    + keep: how many releases stay, `current` included
    + current: name of the release in use
    + seen: a survey that listed the releases' folder, and the releases in it that have `mark`, and looked at `current`
    + mark: file that a whole release has
    + environments: folder of environments, if those are to go too
    """
    folder = str(home / "releases")
    finished = {*seen.holding.get(folder, []), current}
    left = [name for name in seen.names.get(folder, []) if name.startswith(".") and name.endswith(LEFTOVERS)]
    if len(finished) <= keep + in_use(home, current, seen) and not left:
        host.noop("none is old")
        return
    words: list[object] = ["--app", home, "--keep", keep]
    words += ["--environments", environments] if environments else []
    words += ["--mark", mark] if mark != MANIFEST else []
    yield shlex.join(command(paths.onhost, "prune", *words))
