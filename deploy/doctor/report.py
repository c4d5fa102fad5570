"""`sdfleet doctor`: examine controller and hosts, and print the findings."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.text import Text

from deploy.connection.several import connect, each
from deploy.connection.ssh import HostError
from deploy.console import out, styled, waiting
from deploy.doctor import controller, hosts
from deploy.doctor.finding import bad
from deploy.failures import failure
from deploy.options import one_host
from deploy.shapes import Examination, HostFindings, Level
from inventory.errors import DRIFT, OK
from inventory.load import load
from inventory.model import HostSettings

MARKS: dict[Level, Text] = {
    "good": Text("good   ", "green"),
    "warning": Text("warning", "yellow"),
    "bad": Text("bad    ", "bold red"),
}


def run(fleet: Path, host: str | None, as_json: bool = False) -> int:
    """Examine one host, or all, and print a report; 3 if something is bad, else 0. Raises ConfigError."""
    began, loaded = time.monotonic(), load(fleet)
    chosen = [one_host(fleet, host)] if host else list(loaded.hosts.values())
    here = HostFindings(findings=tuple(controller.examine(loaded, chosen)))
    there = _hosts(chosen)
    found = [finding for each in (here, *there.values()) for finding in each.findings]
    code = DRIFT if any(finding.level == "bad" for finding in found) else OK
    if as_json:
        seconds = time.monotonic() - began
        Examination(command="doctor", exit_code=code, seconds=seconds, hosts=there, controller=here).write()
    else:
        _print({"controller": here, **there})
    return code


def _hosts(chosen: Sequence[HostSettings]) -> dict[str, HostFindings]:
    with connect(chosen) as remotes, waiting(f"the examination of {len(chosen)} host(s)"):
        seen = each(remotes, hosts.look)
    settings = {host.name: host for host in chosen}
    return {
        name: _lost(name, found)
        if isinstance(found, HostError)
        else HostFindings(findings=tuple(hosts.judge(settings[name], found)))
        for name, found in seen.items()
    }


def _lost(name: str, error: HostError) -> HostFindings:
    cure = error.cure or "run the command on the host to see why"
    return HostFindings(
        error=failure(name, error), findings=(bad("reachable", error.says, f"{cure[0].upper()}{cure[1:]}."),)
    )


def _print(report: Mapping[str, HostFindings]) -> None:
    for name, found in report.items():
        out.print(styled("[bold]{}[/]", name))
        for finding in found.findings:
            out.print(styled("  {} {}: {}", MARKS[finding.level], finding.subject, finding.says))
            if finding.cure:
                out.print(styled("          [cyan]->[/] {}", finding.cure))
    levels = [finding.level for found in report.values() for finding in found.findings]
    out.print(f"{levels.count('bad')} bad, {levels.count('warning')} warning(s), on {len(report) - 1} host(s).")
