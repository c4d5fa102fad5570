"""What `sdfleet status` shows of one host. Runs there, in any Python from 3.9, with the standard library only."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from roles.onhost import nofollow

RECORD_BYTES = 64_000_000
LINE_BYTES = 100_000
"""Of the end of a log, where its last line is."""


def main(
    root: str, runs: str, webui: dict[str, Any] | None, services: dict[str, str], models: dict[str, list[str]]
) -> dict[str, Any]:
    """Look at the host.

    `services` maps names of further services to their units, `models` each expected model to the glob patterns of
    which one must match.
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
        "runs": _runs(Path(runs)),
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


def _webui(unit: str, state: str, current: str, port: int) -> dict[str, Any]:
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
        "first_picture_s": _seconds(told.get("picture")),
    }


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/sdapi/v1/sd-models", timeout=10) as reply:
            return isinstance(json.load(reply), list)
    except (OSError, ValueError):
        return False


def _runs(folder: Path) -> dict[str, str]:
    """State of each run: running or queued while its unit is active, else by the last record of its log."""
    runs = {}
    for config in sorted(folder.glob("[!.]*/config.toml")):
        name = config.parent.name
        active = _output("systemctl", "is-active", f"lora-train@{name}.service").strip()
        runs[name] = "running" if active in ("active", "activating") else _end(config.parent)
    return runs


def _seconds(picture: Any) -> Any:
    return picture.get("seconds") if isinstance(picture, dict) else None


def _end(run: Path) -> str:
    ended = nofollow.read_json(run / "run.json", RECORD_BYTES).get("ended")
    if isinstance(ended, dict) and ended.get("how") == "finished":
        return "finished"
    last = b""
    with contextlib.suppress(OSError), nofollow.open_file(run / "log.jsonl") as log:
        log.seek(max(0, log.seek(0, 2) - LINE_BYTES))
        last = log.read(LINE_BYTES).rstrip().rpartition(b"\n")[2]
    return "failed" if b'"event": "error"' in last else "stopped"
