"""`sdfleet verify`: run the roles' checks on the hosts in parallel and print what has drifted."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from rich.live import Live
from rich.table import Table
from rich.text import Text

from deploy.connection.several import connect, each
from deploy.connection.ssh import HostError
from deploy.console import err, out, print_table, styled, waiting
from deploy.documents import Document
from deploy.failures import failure
from deploy.shapes import Check, HostChecks, Result
from deploy.verification import protocol
from inventory.errors import DRIFT, FAILED, OK, SdfleetError
from inventory.model import HostSettings

TREE = Path(__file__).resolve().parent.parent.parent
PLUGINS = ("xdist.plugin", "pytest_metadata.plugin", "pytest_html.plugin", "deploy.verification.plugin")
WORKERS = 2 * (os.cpu_count() or 1)
"""Checks mostly wait for the network, but starting a worker costs half a second of CPU time: 8 hosts on 2 cores took
3.6 s with 2 workers, 4.0 s with 4, 6.4 s with 8, 6.5 s one by one, and 9.7 s with a pytest process per host."""
WORTH_WORKERS = 3
"""From this many hosts on, the workers save more than their 2 s of start-up."""

STYLES: dict[Result, str] = {
    "as described": "green",
    "drift": "bold red",
    "unreachable": "bold red",
    "nothing checked": "",
}


@dataclass
class Verdict:
    """What the checks found on one host."""

    good: int = 0
    skipped: int = 0
    bad: list[Check] = field(default_factory=list)
    unreachable: HostError | None = None
    seconds: float = 0

    def count(self, outcome: dict[str, str | float]) -> None:
        self.seconds += float(outcome["seconds"])
        check = str(outcome["check"]).removeprefix("test_").replace("_", " ")
        match outcome["outcome"]:
            case "passed":
                self.good += 1
            case "skipped":
                self.skipped += 1
            case protocol.UNREACHABLE:
                self.unreachable = HostError(str(outcome["reason"]), host=str(outcome["host"]), unreachable=True)
            case _:
                self.bad.append(Check(str(outcome["role"]), check, str(outcome["reason"])))

    @property
    def done(self) -> int:
        """Number of checks that have ended."""
        return self.good + self.skipped + len(self.bad)

    def told(self, name: str) -> HostChecks:
        """The same of the host `name`, at the end."""
        return HostChecks(
            error=failure(name, self.unreachable) if self.unreachable else None,
            result=self.result,
            good=self.good,
            skipped=self.skipped,
            drift=tuple(self.bad),
            seconds=self.seconds,
        )

    @property
    def result(self) -> Result:
        if self.unreachable:
            return "unreachable"
        if not self.good and not self.bad:
            return "nothing checked"
        return "drift" if self.bad else "as described"


def run(
    hosts: Sequence[HostSettings],
    roles: Sequence[str],
    junit: Path | None = None,
    html: Path | None = None,
    as_json: bool = False,
) -> int:
    """Check `roles` on `hosts`, print a table or JSON, and write the reports asked for.

    Returns 0 if all checks passed, 3 if one failed, 1 if a host could not be reached (the others are still checked).
    """
    began = time.monotonic()
    verdicts = {host.name: Verdict() for host in hosts}
    with connect(hosts) as remotes, _shown(verdicts):
        for name, answer in each(remotes, lambda remote: remote.run(["true"], timeout=30)).items():
            if isinstance(answer, HostError):
                verdicts[name].unreachable = answer
        reached = [host for host in hosts if not verdicts[host.name].unreachable]
        files = [
            str(TREE / "roles" / role / protocol.ROLE_FILE)
            for role in roles
            if any(host.has(role) for host in reached) and (TREE / "roles" / role / protocol.ROLE_FILE).is_file()
        ]
        if files and remotes:
            config = next(iter(remotes.values())).config
            told = {host.name: str(remotes[host.name].askpass() or "") for host in reached}
            for outcome in _outcomes(reached, files, config, told, junit, html):
                verdicts[str(outcome["host"])].count(outcome)
    seconds = time.monotonic() - began
    lost = any(verdict.unreachable for verdict in verdicts.values())
    code = FAILED if lost else DRIFT if any(verdict.bad for verdict in verdicts.values()) else OK
    _report(verdicts, seconds)
    if as_json:
        found = {name: verdict.told(name) for name, verdict in verdicts.items()}
        Document(command="verify", exit_code=code, seconds=seconds, hosts=found).write()
    return code


def _shown(verdicts: dict[str, Verdict]) -> AbstractContextManager[object]:
    """Show what the checks have found so far, while they run."""
    if out.is_terminal:
        return Live(console=out, transient=True, get_renderable=lambda: _table(verdicts))
    return waiting(lambda: "; ".join(f"{name}: {verdict.done} checks done" for name, verdict in verdicts.items()))


def _outcomes(
    hosts: Sequence[HostSettings],
    files: Sequence[str],
    ssh: Path,
    askpass: Mapping[str, str],
    junit: Path | None,
    html: Path | None,
) -> Iterator[dict[str, str | float]]:
    """Run pytest in its own process and yield each check's outcome when it is known."""
    with tempfile.TemporaryDirectory(prefix="sdfleet-verify-") as folder:
        settings, ini = Path(folder) / "settings.json", Path(folder) / "pytest.ini"
        settings.write_bytes(protocol.Hosts.dump_json({host.name: host for host in hosts}))
        # Our own configuration, so that neither the caller's folder nor the checkout's pyproject.toml is used.
        ini.write_text(f"[pytest]\npython_files = {protocol.ROLE_FILE}\n")
        command = [*_pytest(ini, len(hosts), junit, html), f"--settings={settings}"]
        command += [f"--ssh-configuration={ssh}", f"--askpass={json.dumps(askpass)}"]
        with (Path(folder) / "log").open("w+") as log:
            read, write = os.pipe()
            process = subprocess.Popen(
                [*command, f"--outcomes=/dev/fd/{write}", *files],
                cwd=folder,
                env=_environment(),
                stdout=log,
                stderr=log,
                pass_fds=(write,),
            )
            os.close(write)
            try:
                with os.fdopen(read, encoding="utf-8") as lines:
                    yield from map(json.loads, lines)
            finally:
                if sys.exc_info()[0] is not None:
                    process.terminate()
                status = process.wait()
            if status not in (0, 1):
                log.seek(0)
                raise SdfleetError(f"the checks could not be run: {' | '.join(log.read().strip().splitlines()[-4:])}")


def _pytest(ini: Path, hosts: int, junit: Path | None, html: Path | None) -> list[str]:
    """The command that starts pytest for a number of hosts."""
    command = [sys.executable, "-P", "-B", "-m", "pytest", "-q", "-c", str(ini), f"--rootdir={TREE}"]
    command += ["--import-mode=importlib", "-p", "no:cacheprovider"]
    command += [word for plugin in PLUGINS for word in ("-p", plugin)]
    if hosts >= WORTH_WORKERS:
        command += ["-n", str(min(hosts, WORKERS)), "--dist", "loadgroup"]
    if junit:
        command.append(f"--junitxml={junit.absolute()}")
    if html:
        command += [f"--html={html.absolute()}", "--self-contained-html"]
    return command


def _environment() -> dict[str, str]:
    """The child's environment: our tree on PYTHONPATH, and none of the caller's pytest options or plugins."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    path = os.pathsep.join(filter(None, (str(TREE), ours.get("PYTHONPATH"))))
    return {**ours, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def _table(verdicts: dict[str, Verdict]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("host", "result", "good", "bad", "skipped", "seconds"):
        table.add_column(column, justify="left" if column in ("host", "result") else "right")
    for name, verdict in verdicts.items():
        counts = (verdict.good, len(verdict.bad), verdict.skipped)
        table.add_row(name, Text(verdict.result, STYLES[verdict.result]), *map(str, counts), f"{verdict.seconds:.1f}")
    return table


def _report(verdicts: dict[str, Verdict], seconds: float) -> None:
    print_table(_table(verdicts))
    for name, verdict in verdicts.items():
        if verdict.unreachable:
            err.print(styled("[bold red]unreachable[/] {}", verdict.unreachable))
        for bad in verdict.bad:
            sentence = f"{bad.role}: {bad.reason} (check: {bad.check})"
            out.print(styled("[bold]{}[/] [bold red]drift[/] {}", name, sentence))
    drifted = [name for name, verdict in verdicts.items() if verdict.bad]
    cure = f" Next: sdfleet apply --limit {' --limit '.join(drifted)}" if drifted else ""
    reached = sum(not verdict.unreachable for verdict in verdicts.values())
    hosts = f"{reached} of {len(verdicts)}" if reached < len(verdicts) else f"{reached}"
    out.print(f"Verified {hosts} host(s) in {seconds:.1f} s.{cure}")
