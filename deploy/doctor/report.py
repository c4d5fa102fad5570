"""`sdfleet doctor`: examine controller and hosts, and print the findings."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from deploy.console import out, styled
from deploy.doctor import controller, hosts
from deploy.doctor.finding import Finding, Level, bad
from deploy.options import one_host
from deploy.ssh import HostError, connect, each
from inventory.errors import DRIFT, OK
from inventory.load import load
from inventory.model import HostSettings

MARKS: dict[Level, Text] = {
    "good": Text("good   ", "green"),
    "warning": Text("warning", "yellow"),
    "bad": Text("bad    ", "bold red"),
}

Report = dict[str, list[Finding]]


def run(fleet: Path, host: str | None, as_json: bool = False) -> int:
    """Examine one host, or all, and print a report; 3 if something is bad, else 0. Raises ConfigError."""
    loaded = load(fleet)
    chosen = [one_host(fleet, host)] if host else list(loaded.hosts.values())
    report = {"controller": controller.examine(loaded, chosen), **_hosts(chosen)}
    if as_json:
        out.print_json(
            json.dumps({name: [asdict(f) for f in found] for name, found in report.items()}), ensure_ascii=True
        )
    else:
        _print(report)
    return DRIFT if any(finding.level == "bad" for found in report.values() for finding in found) else OK


def _hosts(chosen: Sequence[HostSettings]) -> Report:
    with connect(chosen) as remotes:
        seen = each(remotes, hosts.look)
    settings = {host.name: host for host in chosen}
    return {
        name: [_lost(found)] if isinstance(found, HostError) else hosts.judge(settings[name], found)
        for name, found in seen.items()
    }


def _lost(error: HostError) -> Finding:
    cure = error.cure or "run the command on the host to see why"
    return bad("reachable", error.says, f"{cure[0].upper()}{cure[1:]}.")


def _print(report: Report) -> None:
    for name, found in report.items():
        out.print(styled("[bold]{}[/]", name))
        for finding in found:
            out.print(styled("  {} {}: {}", MARKS[finding.level], finding.subject, finding.says))
            if finding.cure:
                out.print(styled("          [cyan]->[/] {}", finding.cure))
    counts = [sum(f.level == level for found in report.values() for f in found) for level in ("bad", "warning")]
    out.print(f"{counts[0]} bad, {counts[1]} warning(s), on {len(report) - 1} host(s).")
