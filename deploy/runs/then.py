"""`--then stop`: stop the hosts of a run, and their bills, when it has ended and its results are here."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy.connection import host_memory, hostlock
from deploy.connection.ssh import HostError, Remote
from deploy.console import out
from deploy.onhost import stop_host
from deploy.options import Action
from deploy.runs.placement import RunHosts
from deploy.runs.transfer import RunHost
from inventory.errors import ConfigError, Problem, SdfleetError

VERB = "train --then stop"
CALL_SECONDS = 150
"""More than the command and a look at the host may take."""
GONE_SECONDS = 120
"""How long a host may still answer after the command that stops it."""
BROKEN_SECONDS = 20
"""The same, if what ran the command ended without an answer."""
LOOK_SECONDS = 2
LOST_ANSWERS = 2
"""In a row; then the host is off."""
ANSWER_SECONDS = 20


def refuse_unfollowed(then: Action | None, follow: bool) -> None:
    """Raise ConfigError: what is not followed is not fetched, and so never stopped."""
    if then and not follow:
        said = "needs the run to be followed: leave --no-follow out, or give it later, to sdfleet train follow"
        raise ConfigError("--then", [Problem("", said)])


def refuse_partial(found: RunHosts) -> None:
    """Raise SdfleetError if a host of the run would not be stopped, or would be without its results."""
    found.refuse_absent("follow", f" --then {Action.STOP}")
    if found.gone:
        have, count = ", ".join(host.name for host in found.hosts), len(found.hosts) + found.gone
        raise SdfleetError(
            f"{found.run} is shared by {count} hosts, of which the fleet file has {have} alone: "
            "the rest would run on, and cost. Put back what was taken out, or stop one alone: "
            f"sdfleet train follow {found.run} --on {found.hosts[0].name} --then {Action.STOP}"
        )
    if not found.has_results:
        at = found.hosts[0].name
        raise SdfleetError(
            f"the results of {found.run} are on another host that shares it, not on {at}; leave --on out to stop all"
        )


def stoppable(then: Action | None, hosts: Sequence[RunHost]) -> Sequence[RunHost]:
    """The hosts that are to be stopped after a run; none without `then`.

    Raises ConfigError or HostError, before anything is trained, if one could not be stopped afterwards.
    """
    for host in hosts if then else ():
        settings = host.remote.host
        setting = settings.place("rental.stop_command")
        if settings.connection.local:
            raise ConfigError("--then", [Problem("", f"{host.name} is this machine, which sdfleet does not stop")])
        if not settings.rental.keeps_data:
            said = "is false, so a stop would lose what else is on the host: stop it by hand"
            raise ConfigError("--then", [Problem(settings.place("rental.keeps_data"), said)])
        told = _ask(host.remote, stop=False)
        host_memory.seen(settings, time.time(), str(told["provider"]))
        if not told["command"]:
            said = "how it is stopped is not known: it is no container of a known provider"
            raise HostError(said, host=host.name, cure=f"set {setting}")
        if program := told["missing"]:
            said = f"{program} is not there, so `{told['command']}` could not stop it"
            raise HostError(said, host=host.name, cure=f"install it, or set {setting}")
    return hosts if then else ()


def still_costs(host: RunHost) -> str:
    """The sentence for a host that was to be stopped and was not."""
    idle = host.remote.host.rental.idle_stop
    return f"{host.name} was not stopped: it still runs, and costs" + (
        f", until it has been idle for {idle}" if idle else ""
    )


def stop_all(hosts: Sequence[RunHost], run: str, folder: Path) -> None:
    """Stop the hosts of a run that has finished. Raises SdfleetError, naming each that still runs.

    + hosts: the first one has the results
    + folder: where they were fetched to
    """
    again = f"to stop it when that is over: sdfleet train follow {run} --then stop"
    if lacking := hosts[0].uncopied(run, folder):
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        why = f"{lacking[0]}{more} of {run} is not in {folder} as it is there"
        raise SdfleetError("\n".join([f"{still_costs(host)}: {why}; {again}" for host in hosts]))
    failed = []
    for host in hosts:
        if why := _stop(host.remote):
            failed.append(f"{still_costs(host)}: {why}; {again}")
    if failed:
        raise SdfleetError("\n".join(failed))


def _stop(remote: Remote) -> str:
    """Stop a host and wait until it is gone; why it was not stopped, empty if it was."""
    host = remote.host
    out.print(f"Stopping {host.name} ...")
    with hostlock.locked({host.name: remote}, VERB, boot=False) as refused:
        if refused:
            return refused[host.name].says
        # Before the command: it may end this very connection, and this process may end too.
        host_memory.stopped(host, time.time())
        broken, told = "", None
        try:
            told = _ask(remote, stop=True)
        except HostError as error:  # it may have been faster than its answer
            broken = "" if error.unreachable else error.says
    if told and (why := "; ".join(told["used"]) or told["failed"]):
        host_memory.not_stopped(host)
        return str(why)
    if not _gone(remote, BROKEN_SECONDS if broken else GONE_SECONDS):
        host_memory.not_stopped(host)
        what = f"`{told['command']}`" if told else "its stop command"
        return broken or f"it still answers {GONE_SECONDS} s after {what}; see the provider's page"
    # Again: it may have answered since the command.
    host_memory.stopped(host, time.time())
    out.print(host_memory.warning(host, time.time()) or f"{host.name} is stopped")
    return ""


def _gone(remote: Remote, seconds: float) -> bool:
    """Whether the host stops answering within that time; one answer that is lost proves nothing."""
    deadline, silent = time.monotonic() + seconds, 0
    while time.monotonic() < deadline or silent:
        try:
            remote.run(["true"], timeout=ANSWER_SECONDS)
            silent = 0
        except HostError as error:
            silent = silent + 1 if error.unreachable else 0
        if silent == LOST_ANSWERS:
            return True
        time.sleep(LOOK_SECONDS)
    return False


def _ask(remote: Remote, *, stop: bool) -> dict[str, Any]:
    host = remote.host
    told: dict[str, Any] = remote.call(
        stop_host,
        timeout=CALL_SECONDS,
        label="stopping it" if stop else "asking how it is stopped",
        command=host.rental.stop_command,
        root=str(host.paths.root),
        ports=host.drawing_ports,
        stop=stop,
    )
    return told
