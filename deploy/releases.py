"""`sdfleet releases` and `sdfleet rollback`: what each host could run, and going back to it without the network."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from deploy import hostlock
from deploy.console import err, out, print_table, styled
from deploy.onhost import released
from deploy.options import DEFAULT_FILE, FleetFile, Limit, checked_name, chosen
from deploy.ssh import HostError, Remote, connect, each
from inventory.hosts import whoami
from roles.onhost import ACTIVATE, source

BACK_SECONDS = 1800
"""How long a service may take to draw its first picture again: start_timeout is the user's to set."""


def releases(
    fleet: FleetFile = DEFAULT_FILE,
    limit: Limit = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs, manifests included.")] = False,
) -> None:
    """List the releases on the hosts: which one is in use, what can be gone back to, who built it and when."""
    with connect(chosen(fleet, limit)) as remotes:
        found = each(remotes, _of)
    lost = {name: answer for name, answer in found.items() if isinstance(answer, HostError)}
    if as_json:
        plain = {n: {"error": str(a)} if isinstance(a, HostError) else a for n, a in found.items()}
        out.print_json(json.dumps(plain), ensure_ascii=True)
    else:
        print_table(_table({name: answer for name, answer in found.items() if name not in lost}))
        _tell(lost)
    raise typer.Exit(1 if lost else 0)


def _of(remote: Remote) -> Any:
    """The releases of one host, of which a table can be made."""
    answer = remote.call(released, apps=str(remote.host.paths.root / "apps"))
    _table({remote.name: answer})
    return answer


def _table(found: Mapping[str, Any]) -> Table:
    columns = ("host", "app", "release", "state", "serves since", "built", "by", "lock")
    table = Table(*columns, box=None, padding=(0, 2, 0, 0), header_style="bold")
    for host, apps in found.items():
        for app, entries in apps.items():
            for entry in entries:
                built = entry["built"]
                table.add_row(
                    host,
                    app,
                    entry["release"],
                    _state(entry),
                    entry["since"],
                    built["at"],
                    built["by"],
                    built["lock"][:8],
                )
    return table


def _state(entry: Mapping[str, Any]) -> Text:
    if entry["current"]:
        return Text("in use", "green")
    if entry["left"]:
        return Text("gone back from", "yellow")
    return Text("served" if entry["since"] else "built")


def rollback(
    names: Annotated[list[str] | None, typer.Argument(metavar="[HOST|GROUP]...", help="None means all.")] = None,
    to: Annotated[str | None, typer.Option(help="Name of a release; else the one that served before.")] = None,
    app: Annotated[str, typer.Option(help="Which application.")] = "webui",
    now: Annotated[bool, typer.Option("--now", help="Wait for no picture in the making.")] = False,
    fleet: FleetFile = DEFAULT_FILE,
) -> None:
    """Go back to the release that served before: no network, nothing is built, a restart and a picture long."""
    began = time.monotonic()
    checked_name("--app", app)
    if to is not None:
        checked_name("--to", to)
    with connect(chosen(fleet, names)) as remotes, hostlock.locked(remotes, "rollback") as refused:
        hostlock.refuse(refused)
        answers = each(remotes, lambda remote: go_back(remote, app, to, now))
    lost = {name: answer for name, answer in answers.items() if isinstance(answer, HostError)}
    for name, said in answers.items():
        if name not in lost:
            out.print(styled("[bold]{}[/] {}", name, said), soft_wrap=True)
    _tell(lost)
    done = len(answers) - len(lost)
    out.print(
        f"{done} host(s) went back in {time.monotonic() - began:.1f} s. fleet.toml and fleet.lock still name the other "
        "release: put them back too, or the next apply brings it again."
    )
    raise typer.Exit(1 if lost else 0)


def go_back(remote: Remote, app: str, to: str | None, now: bool) -> str:
    """Make a host run an earlier release; a sentence that says which. Raises HostError.

    + to: name of a release; None for the one that served before
    + now: whether a picture in the making is cut off; else it is waited for, up to the unit's limit
    """
    words = ["--app", str(remote.host.paths.app(app)), "back", "--by", whoami()]
    words += [*(["--to", to] if to else []), *(["--now"] if now else [])]
    answer = remote.run(
        ["python3", "-I", "-", *words], input=source(ACTIVATE).encode(), timeout=BACK_SECONDS, check=False
    )
    if answer.status:
        raise HostError(f"{remote.name}: {(answer.err.strip() or 'it said nothing').splitlines()[-1]}")
    return answer.out.strip()


def _tell(lost: Mapping[str, HostError]) -> None:
    for error in lost.values():
        err.print(styled("[bold red]error[/] {}", error), soft_wrap=True)


def mount(app: typer.Typer, verbs: Sequence[Any] = (releases, rollback)) -> None:
    """Add these verbs to `app`."""
    for verb in verbs:
        app.command()(verb)
