"""Read what `sdfleet status` shows of one host. Runs there; see the package's docstring."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from roles.onhost import loopback, nofollow


def main(
    root: str, webui: dict[str, Any] | None, services: dict[str, str], models: dict[str, list[str]]
) -> dict[str, Any]:
    """Look at the host.

    + services: names of further services -> their units
    + models: each expected model -> glob patterns, one of which must match
    """
    place = Path(root)
    while not place.exists():
        place = place.parent
    disk = shutil.disk_usage(place)
    missing = [name for name, patterns in models.items() if not any(_found(pattern) for pattern in patterns)]
    return {
        "os": _os(),
        "gpus": _gpus(),
        "webui": _webui(**webui) if webui else None,
        "services": {name: _output("systemctl", "is-active", unit).strip() for name, unit in services.items()},
        "models": {"expected": len(models), "missing": missing},
        "disk": {"free_gb": round(disk.free / 1e9, 1), "total_gb": round(disk.total / 1e9, 1)},
    }


def _found(pattern: str) -> bool:
    path = Path(pattern)
    return any(match.exists() for match in path.parent.glob(path.name))


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20).stdout.decode()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _os() -> str:
    lines = (line.partition("=") for line in Path("/etc/os-release").read_text().splitlines())
    facts = {key: value.strip('"') for key, _, value in lines}
    return f"{facts.get('NAME', 'unknown').split()[0]} {facts.get('VERSION_ID', '')}".strip()


def _gpus() -> list[dict[str, Any]]:
    fields = "name,driver_version,memory.used,memory.total"
    rows = _output("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits").splitlines()
    cells = ([cell.strip() for cell in row.split(",")] for row in rows)
    return [{"name": c[0], "driver": c[1], "used_mb": c[2], "total_mb": c[3]} for c in cells if len(c) == 4]


def _webui(unit: str, state: str, current: str, port: int, extensions: str, store: str) -> dict[str, Any]:
    shown = _output("systemctl", "show", unit, "--property=ActiveState,SubState,ActiveEnterTimestamp")
    unit_state = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    link, told = Path(current), nofollow.read_json(state)
    active = unit_state.get("ActiveState") == "active"
    return {
        "release": link.resolve().name if link.exists() else None,
        "unit": f"{unit_state.get('ActiveState', 'unknown')}/{unit_state.get('SubState', 'unknown')}",
        "since": unit_state.get("ActiveEnterTimestamp") or None,
        # The unit is active only when the WebUI is ready: an HTTP request before that would kill its start.
        "answers": active and _answers(port),
        "problem": told.get("problem") or "",
        "fault": told.get("fault"),
        "extensions_by_hand": _by_hand(extensions, store),
        "first_picture_s": _seconds(told.get("picture")),
    }


def _by_hand(extensions: str, store: str) -> list[str]:
    """Extensions installed by hand: non-empty folders that were not fetched from sdfleet's store."""
    found = []
    with contextlib.suppress(OSError), nofollow.folder(extensions) as opened:
        for name in _names(opened):
            with contextlib.suppress(OSError), nofollow.folder(f"{extensions}/{name}") as extension:
                if _names(extension) and not _fetched(f"{extensions}/{name}", store):
                    found.append(name)
    return found


def _names(opened: int) -> list[str]:
    with os.scandir(opened) as entries:
        return sorted(entry.name for entry in entries)


def _fetched(extension: str, store: str) -> bool:
    try:
        return store in nofollow.read(f"{extension}/.git/FETCH_HEAD").decode(errors="replace")
    except OSError:
        return False


def _seconds(picture: Any) -> Any:
    return picture.get("seconds") if isinstance(picture, dict) else None


def _answers(port: int) -> bool:
    """Whether the WebUI lists its models."""
    try:
        return isinstance(json.loads(loopback.ask(port, "/sdapi/v1/sd-models", seconds=20)), list)
    except (OSError, ValueError, RecursionError):
        return False
