"""A sweep: runs of one config with some settings varied, spread over the fleet and compared."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.runs.names import run_name, word
from deploy.runs.report import write_comparison
from inventory.errors import ConfigError, Problem
from training.run import record_format

SHORT = {
    "lr": "optimizer.learning_rate",
    "dim": "network.rank",
    "alpha": "network.alpha",
    "batch": "train.batch_size",
    "epochs": "train.epochs",
    "steps": "train.steps",
    "seed": "train.seed",
    "optimizer": "optimizer.kind",
    "schedule": "schedule.kind",
}
"""kohya's short names for common settings."""
MOST = 200
TAIL = 0.1
"""The last loss is the mean over this share of the steps, because single steps are noisy."""


@dataclass(frozen=True)
class Point:
    """One run of a sweep."""

    run: str
    overrides: tuple[str, ...]
    values: tuple[str, ...]


def points(name: str, grid: Sequence[str]) -> list[Point]:
    """The runs of the sweep `name` over `grid` (each KEY=VALUE,VALUE,...).

    Raises ConfigError for an invalid entry, a repeated key, or too many runs.
    """
    axes: dict[str, list[str]] = {}
    for entry in grid:
        key, equals, values = entry.partition("=")
        found = [value.strip() for value in values.split(",") if value.strip()]
        if not equals or not key or not found or key in axes:
            raise ConfigError("--grid", [Problem("", f"{entry!r} must be a new key=value,value,... e.g. lr=1e-4,5e-5")])
        axes[key] = list(dict.fromkeys(found))
    combined = list(itertools.product(*axes.values()))
    if len(combined) > MOST:
        raise ConfigError("--grid", [Problem("", f"makes {len(combined)} runs; at most {MOST} are allowed")])
    return [_point(name, tuple(axes), values) for values in combined]


def _point(name: str, axes: Sequence[str], values: tuple[str, ...]) -> Point:
    pairs = list(zip(axes, values, strict=True))
    return Point(
        run=run_name("-".join([name, *(f"{word(key.rpartition('.')[2])}{word(value)}" for key, value in pairs)])),
        overrides=tuple(f"{SHORT.get(key, key)}={value}" for key, value in pairs),
        values=values,
    )


def keys(grid: Sequence[str]) -> list[str]:
    """The varied keys, as the user wrote them."""
    return [entry.partition("=")[0] for entry in grid]


def compare(found: Sequence[Point], grid: Sequence[str], into: Path, file: Path) -> tuple[list[str], list[list[str]]]:
    """The table of the sweep's fetched runs below `into`, lowest last loss first; also writes a report to `file`."""
    titles = ["run", *keys(grid), "ended", "last loss", "seconds", "sha256"]
    rows: list[tuple[float, list[str]]] = []
    folders = []
    for point in found:
        record = record_format.read_record(into / point.run / "run.json")
        if record is None or not {"machine", "losses"} <= record.keys():
            rows.append((float("inf"), [point.run, *point.values, "no record", "", "", ""]))
            continue
        folders.append(into / point.run)
        losses = [loss for _, loss in record["losses"]]
        tail = losses[-max(1, round(len(losses) * TAIL)) :]
        loss = sum(tail) / len(tail) if tail else float("inf")
        how = (record.get("ended") or {"how": "running"})["how"]
        told = [how, f"{loss:.4f}", str(record.get("seconds", "")), str(record.get("sha256", ""))[:12]]
        rows.append((loss if how == "finished" else float("inf"), [point.run, *point.values, *told]))
    table = [row for _, row in sorted(rows, key=lambda pair: pair[0])]
    write_comparison(folders, titles, table, file)
    return titles, table
