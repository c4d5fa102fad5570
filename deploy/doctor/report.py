"""`sdfleet doctor`: examine controller and hosts, and print the findings."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.cells import set_cell_size
from rich.text import Text

from deploy.connection.several import connect, each
from deploy.connection.ssh import HostError
from deploy.console import out, styled, waiting
from deploy.doctor import controller, hosts
from deploy.doctor.finding import bad
from deploy.doctor.languages import speaker
from deploy.failures import failure
from deploy.options import Language, one_host
from deploy.shapes import Examination, HostFindings, Level
from inventory.errors import DRIFT, OK
from inventory.load import load
from inventory.model import HostSettings
from roles.said import capital, say

STYLES: dict[Level, str] = {"good": "green", "warning": "yellow", "bad": "bold red"}
WIDTH = max(map(len, STYLES))


def run(fleet: Path, host: str | None, as_json: bool = False, language: Language = Language.EN) -> int:
    """Examine one host, or all, and print a report; 3 if something is bad, else 0. Raises ConfigError.

    The document is in English in any language.
    """
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
        _print({"controller": here, **there}, speaker(language))
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
    cure = error.cure or say("run the command on the host to see why")
    found = bad("reachable", error.says, say("{cure}.", cure=capital(cure)))
    return HostFindings(error=failure(name, error), findings=(found,))


def _print(report: Mapping[str, HostFindings], speak: Callable[[str], str]) -> None:
    for name, found in report.items():
        out.print(styled("[bold]{}[/]", name))
        for finding in found.findings:
            mark = Text(set_cell_size(speak(finding.level), WIDTH), STYLES[finding.level])
            out.print(styled("  {} {}: {}", mark, finding.subject, speak(finding.says)))
            if finding.cure:
                out.print(styled("          [cyan]->[/] {}", speak(finding.cure)))
    levels = [finding.level for found in report.values() for finding in found.findings]
    counted = {level: levels.count(level) for level in ("bad", "warning")}
    out.print(speak(say("{bad} bad, {warning} warning(s), on {hosts} host(s).", hosts=len(report) - 1, **counted)))
