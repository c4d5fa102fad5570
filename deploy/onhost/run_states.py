"""A host's runs and their states; every other module gets them from here."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from roles.onhost import files, nofollow, services, turn_state

LOG_BYTES = 64_000_000
"""Bytes of a log that are read; enough for half a million steps."""


def list_runs(runs: str) -> list[dict[str, Any]]:
    """Every run: name, state, and last progress."""
    found = []
    for name in names(runs):
        folder = Path(runs, name)
        last: dict[str, Any] = {}
        for record in records(folder):
            last.update(record)
        facts = {"name": folder.name, "made": made(folder), "last": last, "nodes": nodes(folder)}
        found.append({**facts, **state_of(folder)})
    return found


def states(runs: str) -> dict[str, str]:
    """Run name -> state."""
    return {name: state_of(Path(runs, name))["state"] for name in names(runs)}


def state_of(folder: Path) -> dict[str, Any]:
    """A run's `state`: created (never started), queued, running, finished, failed or stopped.

    `reason` says why, if there is a reason; `gpus` lists the GPUs that it holds.
    """
    unit = f"lora-train@{folder.name}.service"
    unit_state = services.shown(unit, "ActiveState", "Result", "InvocationID")
    if unit_state.get("ActiveState") in ("active", "activating", "deactivating", "reloading"):
        told = turn_state.read(folder)
        if told["invocation"] != unit_state.get("InvocationID"):  # written by an earlier start, or not at all
            return {"state": "running", "reason": "", "gpus": []}
        queued = told["state"] == "queued"
        return {"state": told["state"], "reason": told["text"] if queued else "", "gpus": told["gpus"]}
    ended = _ended(folder)
    if ended.get("how") in ("finished", "failed"):
        return _over(ended["how"], ended.get("reason", ""))
    last = next(iter(deque(records(folder), maxlen=1)), {})
    if last.get("event") == "error":
        return _over("failed", str(last.get("message", "")))
    if unit_state.get("Result", "success") != "success":
        return _over("failed", _last_words(unit) or f"{unit} ended with {unit_state['Result']}")
    return _over("stopped" if last or nofollow.exists(folder / turn_state.FILE) else "created", "")


def active_units() -> list[str]:
    """The units of runs that are running or queued. Raises OSError if the service manager does not tell."""
    return services.manager().active("lora-train@*")


def run_of(unit: str) -> str:
    """The run whose unit it is."""
    return unit.removeprefix("lora-train@").removesuffix(".service")


def _over(state: str, reason: str) -> dict[str, Any]:
    return {"state": state, "reason": reason, "gpus": []}


def nodes(folder: Path) -> dict[str, Any] | None:
    """This host's place in a run on several hosts."""
    return nofollow.read_json(folder / "turn.json").get("nodes")


def _ended(folder: Path) -> dict[str, str]:
    """How and why the run ended, by its record; empty if the record does not say."""
    ended = nofollow.read_json(folder / "run.json", turn_state.LARGEST_RECORD).get("ended")
    return {key: str(value) for key, value in ended.items()} if isinstance(ended, dict) else {}


def _last_words(unit: str) -> str:
    """The last line of the run itself in its log."""
    return " ".join(services.manager().lines(unit, 1)).strip()


def records(folder: Path) -> Iterator[dict[str, Any]]:
    """The lines of the run's log, one at a time: together they may not fit into the memory."""
    left = LOG_BYTES
    with contextlib.suppress(OSError), nofollow.open_file(folder / "log.jsonl") as stream:
        while left > 0 and (line := stream.readline(left)):
            left -= len(line)
            if record := files.json_object(line.decode("utf-8", "replace").encode()):
                yield record


def names(runs: str) -> list[str]:
    """Names of the runs; other files in the folder are ignored."""
    folder = Path(runs)
    there = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in there if path.name[0] != "." and made(path))


def made(folder: Path) -> float:
    """When a run was made, in s since the epoch; 0 if it is no run."""
    with contextlib.suppress(OSError), nofollow.open_file(folder / "config.toml") as file:
        return os.fstat(file.fileno()).st_mtime
    return 0.0
