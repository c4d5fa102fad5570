"""What releases a host has. Runs there, in any Python from 3.9, with the standard library only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def main(apps: str) -> dict[str, list[dict[str, Any]]]:
    """Every release of every application, the one in use first, then those that served last; `text` is its unit's."""
    found = {}
    for app in sorted(Path(apps).glob("*/releases")):
        history = _read(app.parent / "history.json").get("served", [])
        link = app.parent / "current"
        current = link.readlink().name if link.is_symlink() else None
        order = [current, *(entry["release"] for entry in reversed(history))]
        names = [folder.name for folder in app.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
        names.sort(key=lambda name: (order.index(name) if name in order else len(order), name))
        found[app.parent.name] = [entry for name in names for entry in _entries(app / name, name == current, history)]
    return found


def _entries(folder: Path, current: bool, history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A release, once for each way it has been run, the last one first."""
    manifest, built = _read(folder / "manifest.json"), _read(folder / "built.json")
    served: list[dict[str, Any]] = [entry for entry in reversed(history) if entry["release"] == folder.name] or [{}]
    return [
        {
            "release": folder.name,
            "current": current and number == 0,
            "built": {key: built.get(key, "") for key in ("at", "by", "lock")},
            **{key: entry.get(key, "") for key in ("since", "by", "left", "text")},
            "manifest": manifest,
        }
        for number, entry in enumerate(served)
    ]


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
