"""Progress of a run: a line on the terminal, JSON lines in a file, and TensorBoard if configured."""

import json
import math
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from training.signals import Stop
from training.terminal import visible

SMOOTHING = 0.98
"""Weight of the past in the smoothed loss."""
QUIET_SECONDS = 10.0
"""Seconds between lines if the output is not a terminal."""


class Progress:
    def __init__(
        self, log: Path, steps: int, per_epoch: int, every: int, tensorboard: Path | None, *, shown: bool = True
    ) -> None:
        """Nothing is written or printed unless `shown`: one process per host reports."""
        self.steps, self.per_epoch, self.every = steps, per_epoch, every
        self.smooth: float | None = None
        self._file = (log if shown else Path(os.devnull)).open("a", encoding="utf-8", buffering=1)
        self._shown_at_all = shown
        self._live = shown and sys.stderr.isatty()
        self._began = self._shown = time.monotonic()
        self._first = 0
        self._board = _board(tensorboard)

    def start(self, step: int, smooth: float | None, **details: Any) -> None:
        """The run starts, or resumes after `step`."""
        self._began, self._first, self.smooth = time.monotonic(), step, smooth
        self.event("start", step, **details)

    def step(self, step: int, loss: float, rates: dict[str, float], skipped: int = 0) -> None:
        """Report a step: `loss` is its mean loss, `skipped` the steps so far whose gradients overflowed."""
        if not math.isfinite(loss):
            self.event("not finite", step, loss=str(loss), skipped=skipped)
            self.say(f"step {step}/{self.steps}: the loss is {loss}, so the step was skipped")
            return
        bias = loss if self.smooth is None else self.smooth
        self.smooth = SMOOTHING * bias + (1 - SMOOTHING) * loss
        now = time.monotonic()
        if step % self.every and step != self.steps:
            return
        speed = (step - self._first) / max(now - self._began, 1e-9)
        left = (self.steps - step) / speed
        self.event(
            "step",
            step,
            loss=loss,
            loss_smooth=self.smooth,
            it_per_s=round(speed, 3),
            eta_s=round(left, 1),
            memory_mb=peak_memory_mb(),
            skipped=skipped,
            **rates,
        )
        if self._board:
            self._board.add_scalar("loss", loss, step)
            for name, rate in rates.items():
                self._board.add_scalar(name, rate, step)
        if self._live or (self._shown_at_all and (now - self._shown > QUIET_SECONDS or step == self.steps)):
            self._shown = now
            line = (
                f"step {step}/{self.steps}, epoch {self.epoch(step)}, loss {loss:.4f} (smooth {self.smooth:.4f}), "
                f"{speed:.2f} it/s, {_duration(left)} left, {peak_memory_mb()} MB{_skipped(skipped)}"
            )
            print(
                f"\r\033[K{line}" if self._live else line, end="" if self._live else "\n", file=sys.stderr, flush=True
            )

    def validation(self, step: int, loss: float) -> None:
        """Report the loss of the held-back pictures."""
        self.event("validation", step, loss=loss)
        self.say(f"step {step}/{self.steps}: validation loss {loss:.4f}")
        if self._board:
            self._board.add_scalar("validation loss", loss, step)

    def event(self, event: str, step: int, **details: Any) -> None:
        """Write any record: start, saved, sample, validation, end, error."""
        record = {"event": event, "step": step, "steps": self.steps, "epoch": self.epoch(step), **details}
        self._file.write(json.dumps({**record, "time": round(time.time(), 3)}) + "\n")

    def say(self, text: str) -> None:
        """Print a message on its own line."""
        text = visible(text)
        print(f"\r\033[K{text}" if self._live else text, file=sys.stderr, flush=True)

    def epoch(self, step: int) -> int:
        """The epoch (from 1) that `step` (from 1) belongs to."""
        return max(0, step - 1) // self.per_epoch + 1

    def close(self) -> None:
        """End the line and close the files."""
        if self._live:
            print(file=sys.stderr)
        if self._board:
            self._board.close()
        self._file.close()


def ticker(stop: Stop, say: Callable[[str], None]) -> Callable[[str, int, int], None]:
    """Reports a phase of preparation every few seconds, and lets it be interrupted."""
    last = time.monotonic()

    def tick(phase: str, done: int, todo: int) -> None:
        nonlocal last
        stop.check()
        if done == todo or time.monotonic() - last > 5:
            last = time.monotonic()
            say(f"{phase}: {done}/{todo}")

    return tick


def peak_memory_mb() -> int:
    """Peak memory of the process in MB; of the GPU if one is used."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return int(torch.cuda.max_memory_allocated() / 2**20)
    # Not ru_maxrss, which begins with what the program that started this one held.
    held = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(held[1]) // 1024 if held else 0


def _board(folder: Path | None) -> Any:
    if folder is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))


def _skipped(steps: int) -> str:
    return f", {steps} skipped (gradients overflowed)" if steps else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
