"""Read what `sdfleet status` shows of one host. Runs there; see the package's docstring."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from deploy.onhost.machine import disk, os_release
from roles.onhost import confirm, gpus, idle_stop, nofollow, services, supervisor_boot, supervisor_manager
from roles.onhost.drawing_applications import APPLICATIONS, Application
from roles.onhost.loopback import AnswerError
from roles.onhost.provider import provider


def main(
    root: str,
    drawing: dict[str, dict[str, Any]],
    others: dict[str, str],
    models: dict[str, list[str]],
    idle: str = "",
) -> dict[str, Any]:
    """Look at the host.

    + drawing: roles of the applications that draw -> arguments of `_application`
    + others: names of further services -> their units
    + idle: file in which the host says for how long nothing has used it; empty if it does not look
    + models: each expected model -> glob patterns, one of which must match
    """
    missing = [name for name, patterns in models.items() if not any(_found(pattern) for pattern in patterns)]
    return {
        "os": _os(),
        **_gpus(),
        "drawing": {name: _application(APPLICATIONS[name], **where) for name, where in drawing.items()},
        "services": {name: services.state(unit) for name, unit in others.items()},
        "provider": provider(),
        "idle": _idle(nofollow.read_json(idle)) if idle else None,
        "models": {"expected": len(models), "missing": missing},
        "asleep": _asleep(root),
        "confirmation": confirm.told(),
        "disk": {name: round(gb, 1) for name, gb in disk(Path(root)).items()},
    }


def _asleep(root: str) -> bool:
    """Whether a host without systemd has had a stop, and nothing has started its services since."""
    return (
        services.manager().NAME == supervisor_manager.NAME
        and Path(root, "boot.sh").exists()
        and not supervisor_boot.answers()
    )


def _idle(told: dict[str, Any]) -> dict[str, Any]:
    """`uses` what uses the host, `seconds` for how long nothing has; `looks` whether that is known."""
    try:
        late = time.time() - float(told["at"])
        uses = [str(use) for use in told["uses"]]
        return {"looks": late < idle_stop.LATE_SECONDS, "seconds": float(told["idle"]) + late, "uses": uses}
    except (LookupError, TypeError, ValueError):
        return {"looks": False, "seconds": 0.0, "uses": []}


def _found(pattern: str) -> bool:
    path = Path(pattern)
    return any(match.exists() for match in path.parent.glob(path.name))


def _os() -> str:
    facts = os_release()
    return f"{facts.get('NAME', 'unknown').split()[0]} {facts.get('VERSION_ID', '')}".strip()


def _gpus() -> dict[str, Any]:
    """`gpus`, or in `gpu_problem` why they cannot be read."""
    try:
        rows = gpus.rows("name", "driver_version", "memory.used", "memory.total", "utilization.gpu")
    except TimeoutError as slow:
        return {"gpus": [], "gpu_problem": str(slow)}
    keys = ("name", "driver", "used_mb", "total_mb", "load_percent")
    return {"gpus": [dict(zip(keys, row, strict=True)) for row in rows], "gpu_problem": ""}


def _application(app: Application, state: str, current: str, port: int, extensions: str, store: str) -> dict[str, Any]:
    """How an application that draws is.

    + state: the file in which its service says whether it can draw
    + extensions: folder of its extensions or custom nodes; those from `store` were installed by sdfleet
    """
    unit_state: dict[str, str] = {}
    with contextlib.suppress(TimeoutError):  # shown as unknown
        unit_state = services.shown(app.UNIT, "ActiveState", "SubState", "ActiveEnterTimestamp")
    link, told = Path(current), nofollow.read_json(state)
    active = unit_state.get("ActiveState") == "active"
    return {
        "release": link.resolve().name if link.exists() else None,
        "unit": f"{unit_state.get('ActiveState', 'unknown')}/{unit_state.get('SubState', 'unknown')}",
        "since": unit_state.get("ActiveEnterTimestamp") or None,
        # The unit is active only when it is ready: an HTTP request before that would kill a WebUI's start.
        "answers": active and _answers(app, port),
        "problem": told.get("problem") or "",
        "fault": told.get("fault"),
        "extensions_by_hand": _by_hand(extensions, store),
        "first_picture_s": _seconds(told.get("picture")),
    }


def _by_hand(extensions: str, store: str) -> list[str]:
    """Extensions installed by hand: non-empty folders that were not fetched from sdfleet's store.

    A custom node of ComfyUI may be a single .py file.
    """
    found = []
    with contextlib.suppress(OSError), nofollow.folder(extensions) as opened:
        for name in _names(opened):
            if name.startswith((".", "__")):  # what Python and git put there
                continue
            if name.endswith(".py"):
                found.append(name)
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


def _answers(app: Application, port: int) -> bool:
    """Whether it lists its models."""
    try:
        app.checkpoints(port, 20)
    except AnswerError:
        return False
    return True
