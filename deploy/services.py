"""`sdfleet start`, `stop` and `restart`: one service, on every host that has it or on the given ones."""

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from deploy import units
from deploy.connection import hostlock
from deploy.connection.several import connect, each
from deploy.connection.ssh import HostError, Remote
from deploy.console import err, out, styled, waiting
from deploy.engine.client import hosts_with, select_hosts
from deploy.onhost import service as onhost
from deploy.units import Service, services
from inventory.errors import ConfigError, Problem
from inventory.load import load
from inventory.model import Fleet, HostSettings

READY_SECONDS = 60
"""How long a service without start_timeout may take until it listens."""
STOP_SECONDS = 120
"""More than any unit's TimeoutStopSec: the WebUI first finishes its running generation."""


class NotReady(HostError):
    """The service did not become ready on a host that was reached; a restart stops here, so that others keep theirs."""


def start(service: str, names: list[str] | None, fleet: Path) -> None:
    known = load(fleet)
    groups = {group for host in known.hosts.values() for group in host.groups}
    if service.replace("_", "-") not in units.SERVICES and service in {*known.hosts, *groups}:
        raise typer.Exit(_start_all(fleet, known, [service, *(names or ())]))
    raise typer.Exit(_run("start", fleet, service, names or ()))


def stop(service: str, names: list[str] | None, fleet: Path) -> None:
    raise typer.Exit(_run("stop", fleet, service, names or ()))


def restart(service: str, names: list[str] | None, fleet: Path) -> None:
    raise typer.Exit(_run("restart", fleet, service, names or ()))


@dataclass(frozen=True)
class Target:
    host: HostSettings
    service: Service

    @property
    def seconds(self) -> int:
        """Seconds that it may take to become ready."""
        return {
            "webui": self.host.webui.start_timeout,
            "comfyui": self.host.comfyui.start_timeout,
            "lora-scripts": self.host.lora_scripts.start_timeout,
        }.get(self.service.name, READY_SECONDS)


def _run(verb: str, file: Path, name: str, names: Sequence[str]) -> int:
    """Do `verb` on the hosts and print the results. Returns the exit code."""
    fleet = load(file)
    name = name.replace("_", "-")
    targets = {target.host.name: target for target in _targets(fleet, name, verb, names)}
    at_once = fleet.table.rollout.away(len(fleet.hosts)) if verb == "restart" else len(targets)
    answers: dict[str, str | HostError] = {}
    with (
        connect([target.host for target in targets.values()]) as remotes,
        hostlock.locked(remotes, f"{verb} {name}", boot=verb != "stop") as refused,
    ):
        answers |= refused
        free = [host for host in targets if host not in refused]
        for begin in range(0, len(free), at_once):
            now = {host: remotes[host] for host in free[begin : begin + at_once]}
            with waiting(f"the {verb} of {name} on {' '.join(now)}"):
                found = each(now, lambda remote: _change(remote, verb, targets[remote.name]))
            answers |= found
            for host, said in found.items():
                if not isinstance(said, HostError):
                    out.print(styled("[bold]{}[/] {} {}", host, name, said))
            if verb == "restart" and any(isinstance(said, NotReady) for said in found.values()):
                break
    return _sum_up(verb, name, list(targets), answers)


def _start_all(file: Path, fleet: Fleet, names: Sequence[str]) -> int:
    """Start all services of hosts and groups, each kind on all of them at once. Returns the exit code."""
    hosts = [fleet.hosts[name] for name in select_hosts(fleet, names, "start")]
    # The lock brings up what a host without systemd runs, runs of training among it.
    with connect(hosts) as remotes, hostlock.locked(remotes, "start") as refused:
        for error in refused.values():
            err.print(styled("[bold red]error[/] {}", error))
    codes = [1 if refused else 0]
    always = {host.name: [its.name for its in services(host) if not its.waits] for host in hosts}
    for name in units.SERVICES:
        if having := [host for host in always if name in always[host] and host not in refused]:
            codes.append(_run("start", file, name, having))
    for host in always:
        if not always[host] and host not in refused:
            out.print(styled("[bold]{}[/] has no service that always runs", host))
    return max(codes)


def _targets(fleet: Fleet, name: str, verb: str, names: Sequence[str]) -> list[Target]:
    """The service on the hosts and groups `names` (none: on all that have it). Raises ConfigError."""
    if name not in units.SERVICES:
        others = f"; hosts are {', '.join(fleet.hosts)}" if verb == "start" else ""
        raise ConfigError(verb, [Problem("", f"no service {name!r}; known are {', '.join(units.SERVICES)}{others}")])

    def of(host: HostSettings) -> list[Target]:
        return [Target(host, service) for service in services(host) if service.name == name]

    hosts = hosts_with(fleet, names, name, lambda host: bool(of(host)), verb)
    return [target for host in hosts for target in of(host)]


def _change(remote: Remote, verb: str, target: Target) -> str:
    """Do `verb` on a host and return the result as a sentence. Raises HostError; NotReady if it does not run then."""
    service, began = target.service, time.monotonic()
    answer: dict[str, Any] = remote.call(
        onhost,
        under=hostlock.STEP,
        label=f"`{verb} {service.unit}`",
        timeout=2 * target.seconds + STOP_SECONDS,
        verb=verb,
        unit=service.unit,
        ports=list(service.ports),
        seconds=target.seconds,
    )
    took = f"{time.monotonic() - began:.1f} s"
    match answer["outcome"]:
        case "ready":
            return f"is ready after {took}"
        case "stopped":
            return f"stopped in {took}"
        case "unchanged":
            return "was stopped already" if verb == "stop" else "is running already"
        case "missing":
            raise HostError(
                f"{service.name} is not installed; run: sdfleet apply --limit {remote.name}", host=remote.name
            )
        case "unknown":
            why = f"the state of {service.unit} is unknown: {answer['reason']}"
        case "silent":
            ports = ", ".join(map(str, answer["silent"]))
            why = f"{service.unit} runs, but nothing listens on {ports} after {target.seconds} s"
        case _:
            why = f"{service.unit} did not become ready: {answer['reason']}"
    raise NotReady(f"{why}; see: sdfleet logs {remote.name} {service.name}", host=remote.name)


def _sum_up(verb: str, name: str, hosts: Sequence[str], answers: Mapping[str, str | HostError]) -> int:
    lost = {host: said for host in hosts if isinstance(said := answers.get(host), HostError)}
    for error in lost.values():
        err.print(styled("[bold red]error[/] {}", error))
    done = [host for host in hosts if host in answers and host not in lost]
    if done and verb == "stop":
        # The runs' TensorBoard is started by `sdfleet open`.
        when = "" if name == "tensorboard" else ", the host boots, or the next apply"
        out.print(f"Stopped until you run: sdfleet start {name}{when}")
    command = ["sdfleet", verb, name]
    if away := [host for host, error in lost.items() if error.unreachable]:
        out.print(f"When {', '.join(away)} can be reached again: {shlex.join([*command, *away])}")
    if left := [host for host in hosts if host not in answers]:
        out.print(f"Not touched: {', '.join(left)}. For later: {shlex.join([*command, *left])}")
    return 1 if lost else 0
