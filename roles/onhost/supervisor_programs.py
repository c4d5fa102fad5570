"""What supervisord is told: one program for each unit."""

from __future__ import annotations

import contextlib
import xmlrpc.client
from pathlib import Path
from typing import Any

from roles.onhost import files, supervisor

UP = ("STARTING", "RUNNING", "BACKOFF", "STOPPING")
PROGRAM = """\
[program:{unit}]
command={command}
directory=/
autostart={autostart}
autorestart=unexpected
exitcodes=0
startsecs={least_seconds}
startretries=3
stopsignal=TERM
stopwaitsecs={stop_seconds}
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=1MB
stdout_logfile_backups=0
"""
ALREADY_STARTED = 60
"""supervisor.xmlrpc.Faults."""
GRACE_SECONDS = 30
"""How much longer than its service may take to stop supervisord waits for the runner."""


def write(unit: str) -> None:
    """Write supervisord's file of a unit, from what describes the unit now."""
    place = _place(unit)
    if not supervisor.file_of(unit).is_file() or "@." in unit:
        return
    its = supervisor.described(unit)
    text = PROGRAM.format(
        unit=unit,
        command=f"/usr/bin/python3 -I {its['runner']} supervised {unit}".replace("%", "%%"),
        autostart="true" if (supervisor.HOME / "enabled" / unit).exists() else "false",
        stop_seconds=its["stop_seconds"] + GRACE_SECONDS,
        least_seconds=supervisor.LEAST_SECONDS,
        log=str(supervisor.HOME / "logs" / f"{unit}.runner").replace("%", "%%"),
    )
    place.parent.mkdir(exist_ok=True)
    if not place.exists() or place.read_text() != text:
        files.write(place, text)


def _place(unit: str) -> Path:
    return supervisor.HOME / "programs" / f"{unit}.conf"


def process(server: Any, unit: str) -> tuple[str, int]:
    """What supervisord says of the unit's runner, empty if it does not know it, and its process, 0 if it has none."""
    try:
        found = server.getProcessInfo(unit)
        return str(found["statename"]), int(found["pid"])
    except xmlrpc.client.Fault:
        return "", 0


def process_state(server: Any, unit: str) -> str:
    """What supervisord says of the unit's runner; empty if it does not know it."""
    return process(server, unit)[0]


def start(server: Any, unit: str) -> None:
    """Start the unit's runner, unless supervisord has just done that."""
    try:
        server.startProcess(unit, False)
    except xmlrpc.client.Fault as fault:
        if fault.faultCode != ALREADY_STARTED:
            raise


def read_anew(server: Any, unit: str) -> None:
    """Have supervisord know the unit by its file; one that runs goes on."""
    [[added, changed, _]] = server.reloadConfig()
    if unit in changed and process_state(server, unit) not in UP:
        server.removeProcessGroup(unit)
        added = [*added, unit]
    if unit in added:
        server.addProcessGroup(unit)


def forget(server: Any, unit: str, keep: bool) -> None:
    """Forget a unit that has stopped, unless it may be started again (`keep`)."""
    if keep:
        return
    with contextlib.suppress(FileNotFoundError):
        _place(unit).unlink()
    with contextlib.suppress(xmlrpc.client.Fault):
        server.removeProcessGroup(unit)
