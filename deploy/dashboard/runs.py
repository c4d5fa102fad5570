"""The training runs of one host, as they go on: each log is read from where it was last read."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from deploy.connection.ssh import HostError
from deploy.dashboard.views import RunDetail, curve, sample_files, sample_views
from deploy.runs.listing import described, far
from deploy.runs.names import NAME
from deploy.runs.placement import BUSY
from deploy.runs.progress import Progress, Sample
from deploy.runs.transfer import RunHost
from deploy.shapes import Run

MOST_QUEUED = 5
"""Runs in a queue that are asked in each round what they wait for; the others when a run begins or ends."""
MOST_ENDED = 12
"""Runs that have ended, the newest, whose curves and pictures are shown."""


@dataclass
class Tail:
    """What was read of a run's log."""

    progress: Progress = field(default_factory=Progress)
    offset: int = 0
    state: str = ""
    samples: Mapping[str, Sample] = field(default_factory=dict)
    """The pictures that the log names, by their keys."""


class Runs:
    """The runs of one host."""

    def __init__(self, host: RunHost) -> None:
        self.host = host
        self.tails: dict[str, Tail] = {}
        self._listed: dict[str, Run] = {}
        self._states: Mapping[str, str] | None = None

    def look(self, states: Mapping[str, str]) -> tuple[Run, ...]:
        """The runs, the newest first. Raises HostError.

        + states: by name, as `sdfleet status` says them
        """
        if states != self._states:
            found = (described(facts) for facts in self.host.runs())
            self._listed = {run.name: run for run in found if NAME.fullmatch(run.name)}
            self.tails = {name: tail for name, tail in self.tails.items() if name in self._listed}
            self._states = dict(states)
        for name in self._due():
            self._read(name)
        return tuple(sorted(self._listed.values(), key=lambda run: run.made, reverse=True))

    def _due(self) -> list[str]:
        """The runs whose logs are to be read: all that train, a few that wait, and one that has ended."""
        runs = sorted(self._listed.values(), key=lambda run: run.made)
        queued = [run.name for run in runs if run.state == "queued"]
        ended = [run.name for run in runs if run.state not in (*BUSY, "created")][-MOST_ENDED:]
        unread = [name for name in reversed(ended) if name not in self.tails or self.tails[name].state in BUSY]
        return [*(run.name for run in runs if run.state == "running"), *queued[:MOST_QUEUED], *unread[:1]]

    def _read(self, name: str) -> None:
        tail = self.tails.setdefault(name, Tail())
        try:
            seen = self.host.read(name, tail.offset)
        except HostError as error:
            if error.unreachable:
                raise
            return  # it was removed just now
        tail.progress.feed(seen["text"])
        tail.offset, tail.state = int(seen["offset"]), str(seen["state"])
        tail.samples = sample_files(tail.progress.samples)
        self._listed[name] = replace(
            self._listed[name],
            state=tail.state,
            reason=str(seen["reason"]),
            gpus=tuple(map(str, seen["gpus"])),
            progress=far(tail.progress),
        )

    def details(self) -> dict[str, RunDetail]:
        """Curve and pictures of the runs whose logs were read."""
        return {
            name: RunDetail(self.host.name, name, curve(tail.progress.points), sample_views(tail.samples))
            for name, tail in self.tails.items()
        }
