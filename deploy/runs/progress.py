"""The progress of a run, from its log.jsonl."""

import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from training.figures import is_figure

BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 24


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
    losses: list[float] = field(default_factory=list)

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
            self.losses.append(self.loss)
        if self.event == "saved" and "file" in record:
            self.saved.append(str(record["file"]))

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
