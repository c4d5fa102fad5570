"""What releases a host has. Runs there, in any Python from 3.9, with the standard library only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def main(apps: str) -> dict[str, list[dict[str, Any]]]:
    """Every release of every application, the one in use first, then those that served last."""
    found = {}
    for app in sorted(Path(apps).glob("*/releases")):
        history = _read(app.parent / "history.json").get("served", [])
        link = app.parent / "current"
        current = link.readlink().name if link.is_symlink() else None
        order = [current, *(entry["release"] for entry in reversed(history))]
        names = [folder.name for folder in app.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
        names.sort(key=lambda name: (order.index(name) if name in order else len(order), name))
        found[app.parent.name] = [_release(app / name, name == current, history) for name in names]
    return found


def _release(folder: Path, current: bool, history: list[dict[str, Any]]) -> dict[str, Any]:
    manifest, built = _read(folder / "manifest.json"), _read(folder / "built.json")
    served = [entry for entry in history if entry["release"] == folder.name]
    return {
        "release": folder.name,
        "current": current,
        "built": {key: built.get(key, "") for key in ("at", "by", "lock")},
        "since": served[-1]["since"] if served else "",
        "by": served[-1]["by"] if served else "",
        "left": served[-1]["left"] if served else "",
        "manifest": manifest,
    }


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
