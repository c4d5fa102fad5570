"""Choose the host for a run, and find the host of a run."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from deploy.connection.several import connect, each
from deploy.connection.ssh import HostError, Remote
from deploy.console import err, styled, waiting
from deploy.engine.client import select_hosts
from deploy.runs.transfer import RunHost
from inventory.errors import ConfigError, Problem, SdfleetError
from inventory.load import load
from inventory.model import HostSettings

T = TypeVar("T")

BUSY = ("running", "queued")
UNREAD = "unread"


def trainers(fleet: Path, on: Sequence[str] | None, given_by: str = "--on") -> list[HostSettings]:
    """The hosts of the file `fleet` that train, or those named by `on`. Raises ConfigError if there are none.

    + given_by: the option that `on` comes from
    """
    loaded = load(fleet)
    hosts = [loaded.hosts[name] for name in select_hosts(loaded, on or (), given_by)]
    found = [host for host in hosts if host.has("trainer")]
    if not found:
        where = f"of {', '.join(on)} " if on else ""
        raise ConfigError(str(fleet), [Problem("hosts", f'no host {where}trains; put one into the group "train"')])
    return found


def shared_hosts(raw: Mapping[str, Any]) -> list[str]:
    """The hosts in a config's resources.hosts, which share the run."""
    resources = raw.get("resources")
    names = resources.get("hosts", ()) if isinstance(resources, Mapping) else ()
    return [str(name) for name in names]


def runs_of(remotes: Mapping[str, Remote]) -> dict[str, list[dict[str, Any]]]:
    """The runs of every host that can be reached; the others are named on stderr. Raises HostError if none can."""
    with waiting(f"the runs of {len(remotes)} host(s)"):
        answers = each(remotes, lambda remote: RunHost(remote).runs())
    return reached(answers)


def reached(answers: Mapping[str, T | HostError]) -> dict[str, T]:
    """The answers of the hosts; prints the errors of the others. Raises HostError if no host answered."""
    lost = [answer for answer in answers.values() if isinstance(answer, HostError)]
    if len(lost) == len(answers):
        raise lost[0]
    for error in lost:
        err.print(styled("[bold yellow]skipped[/] {}", error))
    return {name: answer for name, answer in answers.items() if not isinstance(answer, HostError)}


def choose(remotes: Mapping[str, Remote], turn: Mapping[str, Any]) -> Remote:
    """The host where a run that needs `turn` (see requirements.py) can begin first.

    One with enough free GPU memory, the most free memory first; else the one with the shortest queue, of those whose
    GPUs are large enough.

    Raises SdfleetError if no host is large enough, HostError if none can be reached.
    """
    with waiting(f"the GPUs of {len(remotes)} host(s)"):
        answers = each(remotes, lambda remote: RunHost(remote).capacity())
    found = reached(answers)
    fit = {name: _rank(capacity, turn) for name, capacity in found.items()}
    places = {name: rank for name, rank in fit.items() if rank is not None}
    if not places:
        have = "; ".join(f"{name}: {_shown(capacity)}" for name, capacity in found.items())
        wanted = f"{turn['gpus']} GPU(s) with {turn['memory_mb']} MiB each (resources.gpu_memory_mb)"
        raise SdfleetError(f"no host has {wanted}; {have}")
    return remotes[min(places, key=lambda name: places[name])]


def _rank(capacity: Mapping[str, Any], turn: Mapping[str, Any]) -> tuple[int, float, int] | None:
    """Sort key: the lower, the sooner the run can begin there; None if it never can."""
    busy = capacity["running"] + capacity["queued"]
    gpus = capacity["gpus"] if turn["device"] != "cpu" else []
    if not gpus:
        if turn["device"] == "cuda":
            return None
        # A CPU comes last for a run with device "auto".
        return (0 if turn["device"] == "cpu" else 2, busy, 0)
    if sum(gpu["total"] >= turn["memory_mb"] for gpu in gpus) < turn["gpus"]:
        return None
    free = [gpu["free"] for gpu in gpus if not gpu["taken"] and gpu["free"] >= turn["memory_mb"]]
    if len(free) >= turn["gpus"] and not capacity["queued"]:
        return (0, 0, -max(free))
    return (1, busy / len(gpus), 0)


def _shown(capacity: Mapping[str, Any]) -> str:
    return ", ".join(f"GPU {gpu['index']} with {gpu['total']} MiB" for gpu in capacity["gpus"]) or "no GPU"


@dataclass(frozen=True)
class RunHosts:
    """The hosts of a run that answered."""

    run: str
    hosts: list[RunHost]
    """The first of those that share it first."""
    absent: list[str]
    """Hosts that did not answer, if some that share the run are among them."""
    shared: dict[str, int] = field(default_factory=dict)
    """By host, how many hosts its part of the run was started for."""
    has_results: bool = True
    """Whether the host that writes the results is there; it is the first one then."""
    gone: int = 0
    """How many of those that share the run are not among the fleet's hosts any more."""

    def on_all(self, work: Callable[[RunHost], T], done: str = "") -> dict[str, T]:
        """What `work` returns for each host; it is called for all at once.

        Raises SdfleetError if it fails for some; the others are named after `done`, if given.
        """
        answers = self._each(work)
        good = {name: answer for name, answer in answers.items() if not isinstance(answer, HostError)}
        if len(good) < len(answers):
            lost = [str(answer) for answer in answers.values() if isinstance(answer, HostError)]
            raise SdfleetError("\n".join([*lost, *([f"{done} {', '.join(good)}"] if good and done else [])]))
        return good

    def states(self) -> dict[str, str]:
        """The run's state on each host; UNREAD where it cannot be read."""
        answers = self._each(lambda host: str(host.read(self.run, 0)["state"]))
        return {name: UNREAD if isinstance(answer, HostError) else answer for name, answer in answers.items()}

    def _each(self, work: Callable[[RunHost], T]) -> dict[str, T | HostError]:
        with waiting(f"{self.run} on {' '.join(host.name for host in self.hosts)}"):
            return each({host.name: host.remote for host in self.hosts}, lambda remote: work(RunHost(remote)))

    def refuse_absent(self, verb: str, options: str = "") -> None:
        """Raise SdfleetError if a host may still have a part of the run for which `verb` was not done.

        + options: of the verb; they begin with a space
        """
        if self.absent:
            raise SdfleetError(
                f"{self.run} is shared with other hosts: {', '.join(self.absent)} did not answer and may have it. "
                f"When it can be reached again: sdfleet train {verb} {self.run}{options}"
            )


@contextmanager
def run_hosts(fleet: Path, run: str, on: Sequence[str] | None = None) -> Iterator[RunHosts]:
    """The host that has `run`, or the hosts that share it.

    Raises SdfleetError if none has it, or if several have one with this name and `on` does not say which.
    """
    with connect(trainers(fleet, on)) as remotes:
        answered = runs_of(remotes)
        found = {name: known["nodes"] for name, runs in answered.items() for known in runs if known["name"] == run}
        if not found:
            raise SdfleetError(f"no run {run!r} on {', '.join(answered)}; to list all runs: sdfleet train list")
        if len(found) > 1 and not all(found.values()):
            raise SdfleetError(f"{', '.join(found)} each have a run {run!r}; choose one with --on")
        ranks = {name: (nodes or {}).get("rank", 0) for name, nodes in found.items()}
        names = sorted(found, key=lambda name: ranks[name])
        shared = {name: (nodes or {}).get("count", 1) for name, nodes in found.items()}
        absent = [name for name in remotes if name not in answered] if max(shared.values()) > len(found) else []
        gone = 0 if on or absent else max(shared.values()) - len(found)
        yield RunHosts(run, [RunHost(remotes[name]) for name in names], absent, shared, ranks[names[0]] == 0, gone)


@contextmanager
def run_host(fleet: Path, run: str, on: str | None = None) -> Iterator[RunHost]:
    """The host that has `run`, or the first of those that share it. Raises SdfleetError as run_hosts does."""
    with run_hosts(fleet, run, [on] if on else None) as found:
        yield found.hosts[0]
