"""List a host's releases. Runs there; see the package's docstring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from roles.onhost import files, release_history, unit_changes
from roles.onhost.prune import MANIFEST


def main(apps: str) -> dict[str, list[dict[str, Any]]]:
    """Every release of every application: the one in use first, then by when they last served."""
    found = {}
    for app in sorted(Path(apps).glob("*/releases")):
        history, _ = release_history.whole(app.parent) or ([], None)
        link = app.parent / "current"
        current = link.readlink().name if link.is_symlink() else None
        order = [current, *(entry["release"] for entry in reversed(history))]
        names = [folder.name for folder in app.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
        names.sort(key=lambda name: (order.index(name) if name in order else len(order), name))
        found[app.parent.name] = [entry for name in names for entry in _entries(app / name, name == current, history)]
    return found


def _entries(folder: Path, current: bool, history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry per unit that a release served with, the last first: flags and extensions are in the unit.

    `whole` is whether sdfleet built it: it writes the manifest last.
    """
    whole = (folder / MANIFEST).is_file()
    manifest, built = files.read_json(folder / MANIFEST), files.read_json(folder / "built.json")
    served = [entry for entry in reversed(history) if entry["release"] == folder.name]
    now = served[0]["text"] if served else ""
    return [
        {
            "release": folder.name,
            "current": current and number == 0,
            "built": {key: built.get(key, "") for key in ("at", "by", "lock")},
            "since": entry.get("since", ""),
            "by": entry.get("by", ""),
            "left": entry.get("left", ""),
            "why": entry.get("why", ""),
            "figures": entry.get("figures") or {},
            "whole": whole,
            "differs": unit_changes.told(now, entry.get("text", "")) if number else "",
            "manifest": manifest,
        }
        for number, entry in enumerate(served or [{}])
    ]
