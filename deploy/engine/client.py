"""`sdfleet plan` and `sdfleet apply`: start the engine, show its progress, print a summary."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from deploy.connection import keys
from deploy.connection.several import connect, each
from deploy.console import out
from deploy.engine.events import EVENT, Event, Request
from deploy.engine.view import EngineView
from inventory.errors import ConfigError, Problem, SdfleetError
from inventory.model import ROLES, Fleet, HostSettings

TREE = Path(__file__).resolve().parent.parent.parent


def select_hosts(fleet: Fleet, limit: Sequence[str], given_by: str = "--limit") -> tuple[str, ...]:
    """Names of the hosts that `limit` (host and group names; none means all) stands for, in the file's order.

    Raises ConfigError for a name that is neither, which says where it was given.
    """
    if not limit:
        return tuple(fleet.hosts)
    groups = {group for host in fleet.hosts.values() for group in host.groups}
    known = {*fleet.hosts, *groups}
    if unknown := [name for name in limit if name not in known]:
        names = ", ".join(sorted(known))
        raise ConfigError(given_by, [Problem("", f"no host or group {name!r}; known are {names}") for name in unknown])
    return tuple(name for name, host in fleet.hosts.items() if {name, *host.groups} & set(limit))


def hosts_with(
    fleet: Fleet, names: Sequence[str], what: str, has: Callable[[HostSettings], bool], given_by: str
) -> list[HostSettings]:
    """The hosts that `names` stand for (none: all) and that have `what`.

    Raises ConfigError for a host that is named and lacks it, and if no host has it.
    """
    having = [host for name in select_hosts(fleet, names, given_by) if has(host := fleet.hosts[name])]
    there = {host.name for host in having}
    if missing := [name for name in names if name in fleet.hosts and name not in there]:
        raise ConfigError(str(fleet.file), [Problem(f"hosts.{name}", f"has no {what}") for name in missing])
    if not having:
        where = f"of {' '.join(names)} " if names else ""
        raise ConfigError(str(fleet.file), [Problem("hosts", f"no host {where}has {what}")])
    return having


def select_roles(names: Sequence[str]) -> tuple[str, ...]:
    """The roles named, in order of application; none means all. Raises ConfigError for an unknown one."""
    if unknown := [name for name in names if name not in ROLES]:
        message = f"no role {unknown[0]!r}; known are {', '.join(ROLES)}"
        raise ConfigError("--role", [Problem("", message)])
    return tuple(role for role in ROLES if not names or role in names)


def first(fleet: Fleet, request: Request) -> Request | None:
    """The part of an apply that comes first: the cache that all hosts download through. None if there is none."""
    hosts = tuple(name for name in request.hosts if fleet.hosts[name].has("cache"))
    if not hosts or "cache" not in request.roles:
        return None
    roles = tuple(role for role in ("mirrors", "base", "cache") if role in request.roles)
    return request.model_copy(update={"hosts": hosts, "roles": roles})


def cache_first(fleet: Fleet, request: Request, verbose: bool) -> EngineView | None:
    """Apply the cache before the hosts of `request` choose their mirrors; None if none of them is a cache."""
    earlier = first(fleet, request)
    if earlier is None:
        return None
    out.print(f"Applying the cache first, on {', '.join(earlier.hosts)}: the other hosts download through it.")
    return run(fleet, earlier, "Now everything else.", verbose)


def engine_events(fleet: Fleet, request: Request) -> Iterator[Event]:
    """Run the engine for `fleet` in a child process and yield its events.

    Raises SdfleetError if it ends without a result for every host.
    """
    asked = [fleet.hosts[name] for name in request.hosts if fleet.hosts[name].connection.sudo_password]
    with connect(asked) as remotes:
        programs = each(remotes, lambda remote: remote.askpass())
        # A host that cannot be reached or refuses the password fails when the engine connects to it.
        lent = {name: program for name, program in programs.items() if isinstance(program, PurePosixPath)}
        yield from _engine_events(request.model_copy(update={"askpass": lent}))


def _engine_events(request: Request) -> Iterator[Event]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TREE), os.environ.get("PYTHONPATH", "")])}
    # -P keeps the working directory off sys.path: a folder named `deploy` there must not win over ours.
    command = [sys.executable, "-P", "-m", "deploy.engine.process"]
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(request.model_dump_json() + "\n")
        child.stdin.flush()
        ended: set[str] = set()
        try:
            for line in child.stdout:
                try:
                    event = EVENT.validate_json(line)
                except ValidationError:
                    continue
                if event.event == "result":
                    ended.add(event.host)
                yield event
        finally:
            child.stdin.close()
            child.wait()
        if missing := set(request.hosts) - ended:
            errors.seek(0)
            last = " | ".join(errors.read().strip().splitlines()[-3:])
            raise SdfleetError(
                f"the run ended before it finished {', '.join(sorted(missing))}: {last or 'no reason given'}"
            )


def run(fleet: Fleet, request: Request, next_command: str, verbose: bool, unchanged: str = "") -> EngineView:
    """
    Plan or apply `request` and show it; the returned view has the results.

    + next_command: last line of the output
    + unchanged: the last line if there was nothing to change
    """
    # Before the live view, which would hide a passphrase prompt.
    request = request.model_copy(update={"keys": keys.opened(fleet.hosts[name].connection for name in request.hosts)})
    with EngineView(request.hosts, request.apply, verbose) as view:
        for event in engine_events(fleet, request):
            view.show(event)
    view.finish(unchanged if unchanged and not view.changed else next_command)
    return view
