"""The report of a run: a single self-contained HTML file."""

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import templates
from deploy.runs import drawn
from inventory.errors import SdfleetError
from roles.drawing import TITLES
from training.figures import is_figure
from training.run import record_format
from training.terminal import visible

NAME = "report.html"
SMOOTHING = 0.98
"""Largest smoothing factor of the loss curve; smaller for few steps."""
POINTS = 1000
"""Points of the longest curve; with more steps, every n-th step is shown."""
LEFT, RIGHT, TOP, BOTTOM = 50, 710, 10, 215
SAMPLE = re.compile(r".*-(\d{8})-(\d{2})\.png")


def write(folder: Path) -> Path:
    """Write the report of the fetched run in `folder` and return its path. Raises SdfleetError if it has no record."""
    run = describe(folder)
    file = folder / NAME
    file.write_text(templates.page("trainer/report.html.j2", visible, title=run["name"], runs=[run], comparison=None))
    return file


def write_comparison(folders: Sequence[Path], titles: Sequence[str], rows: Sequence[Sequence[str]], file: Path) -> None:
    """Write one report of several runs, with a table that compares them."""
    comparison = {"titles": titles, "rows": rows}
    runs = [describe(folder) for folder in folders]
    file.write_text(
        templates.page("trainer/report.html.j2", visible, title=file.stem, runs=runs, comparison=comparison)
    )


def describe(folder: Path) -> dict[str, Any]:
    """Data of the report for the run in `folder`. Raises SdfleetError if it has no record."""
    record = record_format.read_record(folder / "run.json")
    if record is None or not ({"losses", "config"} <= record.keys() and isinstance(record.get("machine"), dict)):
        raise SdfleetError(f"{folder} has no record of a run; to fetch it: sdfleet train fetch {folder.name}")
    ended = record.get("ended") or {"how": "running", "reason": ""}
    config = folder / "config.toml"
    return {
        "name": folder.name,
        "how": ended["how"],
        "reason": ended.get("reason", ""),
        "host": record["machine"].get("host", ""),
        "steps": record["losses"][-1][0] if record["losses"] else 0,
        "seconds": seconds if is_figure(seconds := record.get("seconds")) else None,
        "curve": _curve(record["losses"]),
        "samples": _samples(folder),
        "outputs": _outputs(record.get("outputs")),
        "drawn": [_drawn(folder, one) for one in drawn.known(folder)],
        "config": _text(config) if config.exists() else json.dumps(record["config"], indent=1),
        "record": _flat(record),
    }


def _drawn(folder: Path, one: drawn.Drawn) -> dict[str, Any]:
    """What an application drew with the published file."""
    verdict = "applies it" if one.applies else one.said or f"ignores it: {drawn.same(one)}"
    places = {name: folder / place for name, place in one.pictures.items()} if not one.said else {}
    return {
        **{"title": TITLES.get(one.role, one.role), "applies": one.applies, "verdict": verdict, "one": one},
        "pictures": {name: _png(place if place.is_file() else None) for name, place in places.items()},
    }


def _outputs(found: object) -> dict[str, dict[str, Any]]:
    """Size and sha256 by file, as far as the record says them."""
    entries = found.items() if isinstance(found, dict) else ()
    return {
        name: entry
        for name, entry in entries
        if isinstance(entry, dict) and is_figure(entry.get("size")) and isinstance(entry.get("sha256"), str)
    }


def _curve(losses: Sequence[Sequence[float]]) -> dict[str, Any]:
    """The loss as points of an SVG of 720 by 240: raw and smoothed, with marks at minimum, middle and maximum."""
    finite = [pair for pair in losses if is_figure(pair[1])]
    shown = finite[:: max(1, len(finite) // POINTS)]
    if not shown:
        return {"line": ""}
    past = min(SMOOTHING, 1 - 1 / (1 + len(shown) / 30))
    smooth, values = float(shown[0][1]), []
    for _, loss in shown:
        smooth = past * smooth + (1 - past) * loss
        values.append(smooth)
    low, high = min(loss for _, loss in shown), max(loss for _, loss in shown)
    first, last = shown[0][0], shown[-1][0]

    def across(step: float) -> float:
        return LEFT + (RIGHT - LEFT) * (step - first) / ((last - first) or 1)

    def down(loss: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (loss - low) / ((high - low) or 1)

    return {
        "line": " ".join(f"{across(step):.1f},{down(loss):.1f}" for step, loss in shown),
        "smooth": " ".join(f"{across(s):.1f},{down(v):.1f}" for (s, _), v in zip(shown, values, strict=True)),
        "marks": [{"y": round(down(v)), "text": f"{v:.3g}"} for v in (low, (low + high) / 2, high)],
        "first": first,
        "last": last,
    }


def _samples(folder: Path) -> dict[str, Any]:
    """The sample pictures: one row per prompt, one column per step."""
    found: dict[tuple[int, int], Path] = {}
    for file in sorted((folder / "samples").glob("*.png")):
        if match := SAMPLE.fullmatch(file.name):
            found[int(match[1]), int(match[2])] = file
    prompts, epochs = _prompts(folder / "log.jsonl")
    steps = sorted({step for step, _ in found})
    rows = [
        {"prompt": prompts.get(place, f"prompt {place + 1}"), "pictures": [_png(found.get((s, place))) for s in steps]}
        for place in sorted({place for _, place in found})
    ]
    return {"columns": [f"epoch {epochs[s]}, step {s}" if s in epochs else f"step {s}" for s in steps], "rows": rows}


def _prompts(log: Path) -> tuple[dict[int, str], dict[int, Any]]:
    """Prompts by their index, and epochs by their step, from the log."""
    prompts: dict[int, str] = {}
    epochs: dict[int, Any] = {}
    for line in _text(log).splitlines() if log.exists() else ():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(event, dict):
            continue
        match = SAMPLE.fullmatch(str(event.get("file", "")))
        if event.get("event") == "sample" and match:
            prompts[int(match[2])] = str(event.get("prompt", ""))
            if isinstance(step := event.get("step"), int):
                epochs[step] = event.get("epoch", "?")
    return prompts, epochs


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace")


def _png(file: Path | None) -> str | None:
    return base64.b64encode(file.read_bytes()).decode() if file else None


def _flat(value: Any, key: str = "") -> dict[str, str]:
    """A record's values by dotted path, without those that the report shows elsewhere."""
    if key in ("config", "losses", "outputs"):
        return {}
    if isinstance(value, dict) and value:
        found: dict[str, str] = {}
        for name, item in value.items():
            found |= _flat(item, f"{key}.{name}" if key else name)
        return found
    return {key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}
