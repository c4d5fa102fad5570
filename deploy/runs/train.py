"""`sdfleet train`: LoRA training runs on hosts."""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from deploy.connection.several import connect, each
from deploy.connection.ssh import HostError, Remote
from deploy.console import err, out, styled, waiting
from deploy.options import Action, checked_name, chosen
from deploy.runs import drawn, listing, train_again
from deploy.runs.names import run_name
from deploy.runs.outcome import bring, follow_and_fetch, sent
from deploy.runs.placement import BUSY, UNREAD, RunHosts, choose, run_host, run_hosts, shared_hosts, trainers
from deploy.runs.publish import keeping, not_running, result
from deploy.runs.publish import publish as publish_file
from deploy.runs.report import write as write_report
from deploy.runs.requirements import nodes
from deploy.runs.submission import prepare, read
from deploy.runs.then import refuse_partial, refuse_unfollowed, stoppable
from deploy.runs.transfer import RunHost
from inventory.errors import ConfigError, Problem, SdfleetError
from roles.drawing import TITLES
from roles.onhost import lora_keys
from roles.onhost.lora_pictures import Order


def run_config(
    config: Path,
    fleet: Path,
    on: list[str] | None,
    name: str | None,
    settings: list[str] | None,
    follow: bool,
    into: Path,
    then: Action | None,
) -> None:
    refuse_unfollowed(then, follow)
    raw = read(config, settings or ())
    called = run_name(str(raw.get("name", config.stem)))[:80]
    run = checked_name("--name", name) if name else f"{called}-{time.strftime('%Y%m%d-%H%M%S')}"
    shared = shared_hosts(raw)
    hosts = trainers(fleet, shared or on, "resources.hosts" if shared else "--on")
    if missing := set(shared) - {host.name for host in hosts}:
        raise ConfigError(str(config), [Problem("resources.hosts", f"{', '.join(sorted(missing))} does not train")])
    needed = [prepare(raw, config, run, candidate).turn for candidate in hosts]
    with connect(hosts) as remotes:
        chosen_hosts = [remotes[name] for name in shared] if shared else [choose(remotes, needed[0])]
        settings_of = [remote.host for remote in chosen_hosts]
        runs = [RunHost(remote) for remote in chosen_hosts]
        stops = stoppable(then, runs)
        if shared:  # before the first of them gets its part
            RunHosts(run, runs, []).on_all(lambda host: host.missing(run, ()))
        for host in runs:
            host.send(run, prepare(raw, config, run, host.remote.host, settings_of), sent(run, host.name))
        # Printed first: if this process is killed now, the user must know that there is a run.
        out.print(f"Starting {run} on {', '.join(host.name for host in runs)}")
        RunHosts(run, runs, []).on_all(lambda host: host.start(run), f"{run} was started, and waits for the others, on")
        out.print(f"Started {run} on {', '.join(host.name for host in runs)}")
        if follow:
            follow_and_fetch(runs[0], run, into, stops)
        else:
            out.print(f"Next: sdfleet train follow {run}")


def follow_run(run: str, fleet: Path, on: str | None, into: Path, then: Action | None) -> None:
    with run_hosts(fleet, run, [on] if on else None) as found:
        if then:
            refuse_partial(found)
        stops = stoppable(then, found.hosts)
        follow_and_fetch(found.hosts[0], run, into, stops)


def report(folder: Path) -> None:
    out.print(f"Wrote {write_report(folder)}")


def list_runs(fleet: Path, limit: list[str] | None, as_json: bool) -> None:
    raise typer.Exit(listing.run(trainers(fleet, limit, "--limit"), as_json))


def stop(run: str, fleet: Path, on: str | None) -> None:
    with run_hosts(fleet, run, [on] if on else None) as found:
        states = found.states().values()
        names = ", ".join(host.name for host in found.hosts)
        if any(state in (*BUSY, UNREAD) for state in states):
            out.print(f"Stopping {run} on {names}; it writes a checkpoint first ...")
        elif wrong := next((state for state in states if state != "stopped"), None):
            raise SdfleetError(f"{run} is not running: it is {wrong}")
        # All at once: hosts that share a run stop at the same step.
        found.on_all(lambda host: host.stop(run), f"{run} was stopped on")
        ended = found.on_all(lambda host: host.read(run, 0)).values()
        if failed := [state for state in ended if state["state"] == "failed"]:
            raise SdfleetError(f"{run} ended, but failed: {failed[0]['reason']}")
        found.refuse_absent("stop")
        out.print(f"Stopped. To resume: sdfleet train resume {run}")


def resume(run: str, fleet: Path, on: list[str] | None, follow: bool, into: Path, then: Action | None) -> None:
    refuse_unfollowed(then, follow)
    with run_hosts(fleet, run, on) as found:
        if found.absent:
            others = " ".join(f"--on {host.name}" for host in found.hosts)
            raise SdfleetError(
                f"{run} is shared with other hosts: {', '.join(found.absent)} did not answer and may have it. "
                f"To continue without: sdfleet train resume {run} {others}"
            )
        stops = stoppable(then, found.hosts)
        states = _resumable(found)
        together = [host.remote.host for host in found.hosts]
        # A resume that was killed, or failed on one host, may have started others.
        for host in (host for host in found.hosts if states[host.name] not in BUSY):
            lost = train_again.build_for_checkpoint(fleet, host, run)
            host.set_turn(run, nodes=nodes(host.remote.host, together), **lost)
        found.on_all(lambda host: host.start(run), f"{run} was started, and waits for the others, on")
        already = all(state in BUSY for state in states.values())
        names = ", ".join(host.name for host in found.hosts)
        out.print(f"{run} is running already on {names}" if already else f"{run} resumed on {names}")
        if follow:
            follow_and_fetch(found.hosts[0], run, into, stops)


def _resumable(found: RunHosts) -> dict[str, str]:
    """The run's state on each host. Raises SdfleetError if it cannot be resumed on these."""
    run, states = found.run, found.on_all(lambda host: str(host.read(found.run, 0)["state"]))
    if states[found.hosts[0].name] == "finished":
        raise SdfleetError(f"{run} is finished; to download its files: sdfleet train fetch {run}")
    if going := [name for name, state in states.items() if state in BUSY and found.shared[name] != len(states)]:
        raise SdfleetError(
            f"{run} still runs on {', '.join(going)} as a run of {found.shared[going[0]]} hosts; "
            f"stop it first: sdfleet train stop {run}"
        )
    return states


def fetch(run: str, fleet: Path, on: str | None, into: Path) -> None:
    with run_host(fleet, run, on) as host:
        bring(host, run, into)


def publish(
    run: str,
    fleet: Path,
    limit: list[str] | None,
    name: str | None,
    on: str | None,
    into: Path,
    chosen_file: str | None,
    draw: bool,
) -> None:
    if name:
        checked_name("--as", name)
    with run_host(fleet, run, on) as host:
        state = host.read(run, 0)["state"]
        host.fetch(run, into / run)
    file = result(into / run, state, chosen_file)
    name = name or checked_name("--as", file.stem)
    if why := lora_keys.ignored(file):
        err.print(styled("[bold yellow]warning[/] {}: {}", file.name, why))
    out.print(f"Publishing {file.name} of {run} as {name}")
    hosts = [host for host in chosen(fleet, limit) if host.drawing_ports]
    if not hosts:
        said = 'no host draws; put one into the group "webui" or "comfyui"'
        raise ConfigError(str(fleet), [Problem("hosts", said)])
    with connect(hosts) as remotes:
        with waiting(f"{name} to reach {len(hosts)} host(s)"):
            answers = each(remotes, lambda remote: publish_file(remote, run, file, name))
        told: dict[str, list[str]] = {}
        for at, answer in answers.items():
            if isinstance(answer, HostError):
                err.print(styled("[bold red]error[/] {}", answer))
                continue
            told[at] = _seen(remotes[at], name, answer)
        if draw and any(told.values()):
            _draw({at: remotes[at] for at in told if told[at]}, told, drawn.order(into / run, name, file), into / run)
    if any(isinstance(answer, HostError) for answer in answers.values()):
        raise typer.Exit(1)
    out.print(f"In a prompt: <lora:{name}:1>")


def _seen(remote: Remote, name: str, answer: Mapping[str, Any]) -> list[str]:
    """Tell what became of a published file on a host. Returns which applications draw with it.

    + answer: of publish_file
    """
    what = "published" if answer["changed"] else "was already published"
    down = not_running(remote.host, answer["refreshed"])
    seen = f"; not running, and will see it when started: {', '.join(down)}" if down else ""
    out.print(styled("[bold]{}[/] {} {}{}", remote.name, name, what, seen))
    stale = keeping(remote.host, answer)
    for role in stale:
        restart = f"sdfleet restart {role} {remote.name}"
        told = styled("{} draws with the earlier {} until you run: {}", TITLES[role], name, restart)
        err.print(styled("[bold yellow]warning[/] {}: {}", remote.name, told))
    return [role for role in answer["refreshed"] if role not in stale]


def _draw(remotes: Mapping[str, Remote], roles: Mapping[str, list[str]], wanted: Order, folder: Path) -> None:
    """Have applications that draw show whether they apply a published file; for people and the run's report.

    + roles: of the applications, by host
    """
    with waiting(f"the pictures of {len(remotes)} host(s) with {wanted.lora}"):
        answers = each(remotes, lambda remote: drawn.draw(remote, roles[remote.name], wanted, folder))
    for answer in answers.values():
        if isinstance(answer, HostError):
            err.print(styled("[bold yellow]warning[/] {}", answer))
            continue
        drawn.note(folder, answer)
        for one in answer:
            for line in drawn.told(one):
                out.print(line)
            for line in drawn.warnings(one):
                err.print(line)
    with contextlib.suppress(SdfleetError):  # an older trainer's run has no record to write a report of
        out.print(f"Report: {write_report(folder)}")


def remove(run: str, fleet: Path, on: str | None) -> None:
    with run_hosts(fleet, run, [on] if on else None) as found:
        found.on_all(lambda host: host.remove(run), f"Removed {run} from")
        out.print(f"Removed {run} from {', '.join(host.name for host in found.hosts)}")
        found.refuse_absent("remove")
