"""`sdfleet releases` and `sdfleet rollback`: list the releases on each host, and roll back without the network."""

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from deploy.connection import hostlock
from deploy.connection.several import connect, each
from deploy.connection.ssh import HostError, Remote
from deploy.console import err, out, print_table, styled, waiting
from deploy.documents import Document
from deploy.engine.client import hosts_with
from deploy.failures import lost as failed
from deploy.names import APPS
from deploy.onhost import released
from deploy.options import checked_name, chosen
from deploy.rollout import cost
from deploy.shapes import Built, HostReleases, Release
from inventory.errors import FAILED, OK, ConfigError, Problem
from inventory.hosts import whoami
from inventory.load import load
from inventory.model import HostSettings
from roles.onhost.activate import NOT_INSTALLED

BACK_SECONDS = 1800
"""How long a service may take to generate its first picture again; start_timeout is set by the user."""


def releases(fleet: Path, limit: list[str] | None, as_json: bool) -> None:
    began, hosts = time.monotonic(), chosen(fleet, limit)
    with connect(hosts) as remotes, waiting(f"the releases of {len(hosts)} host(s)"):
        found = each(remotes, of)
    lost = {name: answer for name, answer in found.items() if isinstance(answer, HostError)}
    code = FAILED if lost else OK
    if as_json:
        plain = {
            name: failed(name, a) if isinstance(a, HostError) else HostReleases(apps=a) for name, a in found.items()
        }
        Document(command="releases", exit_code=code, seconds=time.monotonic() - began, hosts=plain).write()
    else:
        print_table(_table({name: answer for name, answer in found.items() if not isinstance(answer, HostError)}))
        _tell(lost)
        if back := [name for name, apps in found.items() if not isinstance(apps, HostError) and _earlier(apps)]:
            out.print(f"To go back: sdfleet rollback {' '.join(back)}")
    raise typer.Exit(code)


Apps = Mapping[str, tuple[Release, ...]]


def of(remote: Remote) -> Apps:
    """The releases of one host. Fails here, for this host alone, if they do not fit the table."""
    answer = remote.call(released, apps=str(remote.host.paths.root / "apps"))
    apps = {app: tuple(_release(entry) for entry in entries) for app, entries in answer.items()}
    _table({remote.name: apps})
    return apps


def _earlier(apps: Apps) -> bool:
    """Whether there is a release of the WebUI to roll back to."""
    return any(entry.since and entry.whole and not entry.current and not entry.left for entry in apps.get("webui", ()))


def _release(entry: Mapping[str, Any]) -> Release:
    return Release(**{**entry, "built": Built(**entry["built"])})


def _table(found: Mapping[str, Apps]) -> Table:
    columns = ("host", "app", "release", "settings", "state", "serves since", "costs", "built", "by", "lock")
    table = Table(*columns, box=None, padding=(0, 2, 0, 0), header_style="bold")
    for host, apps in found.items():
        for app, entries in apps.items():
            for entry in entries:
                built = (entry.built.at, entry.built.by, entry.built.lock[:8])
                costs = cost.told(entry.figures, app)
                table.add_row(host, app, entry.release, entry.differs, state(entry), entry.since, costs, *built)
    return table


def state(entry: Release) -> Text:
    """What a release is to its host, in a few words."""
    if entry.current:
        return Text("in use", "green") if entry.whole else Text("in use, incomplete", "bold red")
    if not entry.whole:
        return Text("incomplete, not used" if entry.since else "not built by sdfleet", "yellow")
    if entry.left:
        return Text(f"gone back from: {entry.why}" if entry.why else "gone back from", "yellow")
    return Text("served" if entry.since else "built")


def rollback(names: list[str] | None, to: str | None, app: str, now: bool, fleet: Path) -> None:
    began = time.monotonic()
    if to is not None:
        checked_name("--to", to)
    hosts = _having(fleet, app, names or ())
    with connect(hosts) as remotes, hostlock.locked(remotes, "rollback") as refused:
        free = {name: remote for name, remote in remotes.items() if name not in refused}
        with waiting(f"the rollback of {' '.join(free)}"):
            answers = {**refused, **each(free, lambda remote: roll_back(remote, app, to, now))}
    lost, done = _tell_rollback({name: answers[name] for name in remotes}, app, bool(names), began)
    if done:
        out.print(
            "fleet.toml and fleet.lock still name the other release: revert them too, or the next apply installs it "
            "again."
        )
    if away := [name for name, error in lost.items() if error.unreachable]:
        options = [*(["--app", app] if app != "webui" else []), *(["--to", to] if to else [])]
        command = shlex.join(["sdfleet", "rollback", *away, *options])
        out.print(f"When {', '.join(away)} can be reached again: {command}")
    raise typer.Exit(1 if lost or not done else 0)


def _tell_rollback(
    answers: Mapping[str, str | HostError], app: str, chosen: bool, began: float
) -> tuple[dict[str, HostError], list[str]]:
    """Print what became of each host. Returns the errors, and the hosts that were rolled back.

    + chosen: whether the hosts were named; otherwise those without the application are skipped
    + began: when the rollback began (time.monotonic)
    """
    bare = {name: error for name, error in answers.items() if isinstance(error, NotInstalled) and not chosen}
    lost = {n: error for n, error in answers.items() if isinstance(error, HostError) and n not in bare}
    for name, said in answers.items():
        if name in bare:
            out.print(f"{name} has no {app} yet; skipped")
        elif name not in lost:
            out.print(styled("[bold]{}[/] {}", name, said))
    _tell(lost)
    done = [name for name in answers if name not in lost and name not in bare]
    out.print(f"{len(done)} of {len(answers) - len(bare)} host(s) rolled back in {time.monotonic() - began:.1f} s.")
    return lost, done


def _having(fleet: Path, app: str, names: Sequence[str]) -> list[HostSettings]:
    """The hosts that `names` stand for (none: all) and that have `app`. Raises ConfigError."""
    if app not in APPS:
        raise ConfigError("--app", [Problem("", f"no application {app!r}; known are {', '.join(APPS)}")])
    other = f"{app}; --app names another application"
    return hosts_with(load(fleet), names, other, lambda host: host.has(app), "rollback")


class NotInstalled(HostError):
    """The host does not have the application."""


def roll_back(remote: Remote, app: str, to: str | None, now: bool) -> str:
    """Switch a host to an earlier release. Returns a sentence that names it.

    + to: name of a release; None for the one that served before
    + now: whether to cut off a running generation; otherwise wait for it, up to the unit's limit
    Raises HostError; NotInstalled if the host does not have the application.
    """
    words = ["--app", str(remote.host.paths.app(app)), "back", "--by", whoami()]
    words += [*(["--to", to] if to else []), *(["--now"] if now else [])]
    answer = remote.start("activate", *words, under=hostlock.STEP, timeout=BACK_SECONDS, check=False)
    if answer.status == NOT_INSTALLED:
        raise NotInstalled(answer.err.strip(), host=remote.name)
    if answer.status:
        raise HostError((answer.err.strip() or "it printed nothing").splitlines()[-1], host=remote.name)
    return answer.out.strip()


def _tell(lost: Mapping[str, HostError]) -> None:
    for error in lost.values():
        err.print(styled("[bold red]error[/] {}", error))
