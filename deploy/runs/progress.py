"""The progress of a run, from its log.jsonl."""

import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from training.figures import is_figure

BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 24


class Point(NamedTuple):
    """The loss of one step."""

    step: int
    loss: float
    smooth: float


class Sample(NamedTuple):
    """A picture that the run has drawn, by the name of its file."""

    file: str
    step: int
    prompt: str


@dataclass
class Progress:
    """The progress so far, from all records that were fed."""

    step: int = 0
    steps: int = 0
    epoch: int | None = None
    loss: float | None = None
    loss_smooth: float | None = None
    it_per_s: float | None = None
    eta_s: float | None = None
    memory_mb: int | None = None
    event: str = ""
    saved: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)

    @property
    def losses(self) -> list[float]:
        """The loss of each step."""
        return [point.loss for point in self.points]

    def feed(self, text: str) -> None:
        """Read whole lines of the log; lines that are no JSON object are ignored."""
        for line in text.splitlines():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                self._take(record)

    def _take(self, record: dict[str, Any]) -> None:
        self.event = str(record.get("event", self.event))
        for key in ("step", "steps", "epoch", "it_per_s", "eta_s", "memory_mb"):
            if is_figure(value := record.get(key)):
                setattr(self, key, value)
        for key in ("loss", "loss_smooth"):  # of a run that diverges they are NaN
            if is_figure(value := record.get(key)) or isinstance(value, float):
                setattr(self, key, value)
        if self.event == "step" and is_figure(self.loss):
            smooth = self.loss_smooth if is_figure(self.loss_smooth) else self.loss
            self.points.append(Point(self.step, self.loss, smooth))
        if self.event == "saved" and "file" in record:
            self.saved.append(str(record["file"]))
        if self.event == "sample" and "file" in record:
            self.samples.append(Sample(str(record["file"]), self.step, str(record.get("prompt", ""))))

    def line(self) -> str:
        """One line: step, loss with sparkline, speed, time left."""
        parts = [f"step {self.step}/{self.steps or '?'}"]
        if self.epoch is not None:
            parts.append(f"epoch {self.epoch}")
        loss = self.loss if self.loss_smooth is None else self.loss_smooth
        if loss is not None:
            parts.append(f"loss {loss:.4f} {sparkline(self.losses)}".rstrip())
        if self.it_per_s:
            parts.append(f"{self.it_per_s:.2f} it/s")
        if self.eta_s is not None and self.step < self.steps:
            parts.append(f"ETA {duration(self.eta_s)}")
        if self.memory_mb:
            parts.append(f"{self.memory_mb / 1024:.1f} GiB")
        return "  ".join(parts)


def sparkline(values: Iterable[float]) -> str:
    """`values` as at most 24 characters, each the mean of its share."""
    series = list(values)
    if len(series) < 2:
        return ""
    count = min(WIDTH, len(series))
    bounds = [index * len(series) // count for index in range(count + 1)]
    means = [sum(series[a:b]) / (b - a) for a, b in itertools.pairwise(bounds)]
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join(BLOCKS[int((value - low) / span * (len(BLOCKS) - 1))] for value in means)


def duration(seconds: float) -> str:
    """`seconds` as H:MM:SS or M:SS."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
