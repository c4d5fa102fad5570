"""`sdfleet logs`: what a service or a training run wrote to its log on one host, or on several."""

import contextlib
import json
import subprocess
import threading
from collections.abc import Callable, Sequence

from deploy import units
from deploy.connection.several import attempt, connect
from deploy.connection.ssh import Answer, HostError, Remote
from deploy.console import err, out, prefixes, styled, waiting
from deploy.onhost import show_log
from inventory.errors import FAILED, OK
from inventory.model import HostSettings
from roles.programs import called, receiver
from training.spelling import did_you_mean

SHOWN = 10
"""How many runs of a host an error names."""


def run(hosts: Sequence[HostSettings], what: str, lines: int, follow: bool) -> int:
    """Print the last `lines` lines of `what` (one of units.SERVICES, or a run); with `follow`, continue until Ctrl-C.

    Lines of several hosts begin with the host's name. Returns 1 if one of them could not be read, else 0.
    Raises HostError if the only host can't be reached or has nothing of this name.
    """
    with connect(hosts) as remotes, contextlib.suppress(KeyboardInterrupt):
        if len(hosts) == 1:
            log = _Log(remotes[hosts[0].name], what)
            try:
                log.show(lines, follow, out.print)
            except KeyboardInterrupt:
                log.end()
                raise
            return OK
        return _show_all([_Log(remote, what) for remote in remotes.values()], lines, follow)
    return OK


def _show_all(logs: Sequence["_Log"], lines: int, follow: bool) -> int:
    """Print the logs of several hosts: as the lines come with `follow`, otherwise one host after the other."""
    before = prefixes([log.remote.name for log in logs])
    found: dict[str, list[str]] = {name: [] for name in before}

    ended: dict[str, object] = {}

    def read(log: _Log) -> None:
        name = log.remote.name
        show = (lambda line: out.print(styled("{}  {}", before[name], line))) if follow else found[name].append
        ended[name] = attempt(log.remote, lambda _: log.show(lines, follow, show))

    # Not by `each`: it waits for all, also for those that have no end, and Ctrl-C would wait too.
    threads = [threading.Thread(target=read, args=(log,), daemon=True) for log in logs]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        for log in logs:
            log.end()
        raise
    for name, its in found.items():
        for line in its:
            out.print(styled("{}  {}", before[name], line))
    lost = [error for name in before if isinstance(error := ended[name], HostError)]
    for error in lost:
        err.print(styled("[bold red]error[/] {}", error))
    return FAILED if lost else OK


class _Log:
    """The log of a service or a run of one host."""

    def __init__(self, remote: Remote, what: str) -> None:
        self.remote, self.what = remote, what
        self.unit = units.SERVICES.get(what) or units.training(what)
        self._process: subprocess.Popen[bytes] | None = None

    def show(self, lines: int, follow: bool, show: Callable[[str], object]) -> None:
        """Call `show` with each line. Raises HostError."""
        remote, unit, label = self.remote, self.unit, f"reading the log of {self.unit}"
        with waiting(f"the log of {unit}", aside=True):
            runs = "" if self.what in units.SERVICES else str(remote.host.paths.runs)
            answer = remote.call(show_log, label=label, unit=unit, runs=runs)
        loaded = answer["loaded"]
        if not loaded:
            raise HostError(f"{answer['manager']} of {remote.name} does not answer")
        if runs and self.what not in answer["runs"]:
            raise HostError(f"{remote.name} has no service or training run {self._unknown(answer['runs'])}")
        if loaded != "loaded":
            raise HostError(
                f"there is no {unit} ({loaded}); `sdfleet status --limit {remote.name}` shows more", host=remote.name
            )
        wanted = json.dumps({"unit": unit, "last": lines, "follow": follow})
        text = called(show_log.__name__, wanted).encode()
        with subprocess.Popen(
            remote.argv(receiver()), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            self._process = process
            assert process.stdin is not None and process.stdout is not None
            # If ssh has ended, its status says why.
            with contextlib.suppress(BrokenPipeError), process.stdin as program:
                program.write(text)
            for line in process.stdout:
                show(line.decode(errors="replace").rstrip("\n"))
        remote.judge(Answer(process.returncode, "", ""), [], label=label)

    def _unknown(self, runs: Sequence[str]) -> str:
        """The name that the host does not know, and what it has."""
        services = [its.name for its in units.services(self.remote.host)]
        hint = did_you_mean(self.what, [*services, *runs])
        more = f" and {len(runs) - SHOWN} more (sdfleet train list)" if len(runs) > SHOWN else ""
        has = [f"services: {', '.join(services) or 'none'}", f"runs: {', '.join(runs[:SHOWN]) or 'none'}{more}"]
        return f"{self.what!r}{hint}; it has {'; '.join(has)}"

    def end(self) -> None:
        """Stop reading."""
        if self._process:
            self._process.terminate()
