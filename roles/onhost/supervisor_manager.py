"""supervisord as a service manager (see `services.Manager`), and the commands that apply and verify give it.

supervisor_manager show UNIT...         properties, as `systemctl show` prints them
supervisor_manager main-process UNIT    its process
supervisor_manager is-active UNIT       0 if it is
supervisor_manager run UNIT             restart it with its file, and start it at each boot
supervisor_manager VERB UNIT...         start, stop, restart, enable, enable-now, disable, hang-up, remove
supervisor_manager boot FOLDER          start supervisord with all that is enabled, if it does not run
supervisor_manager serves FOLDER        print yes if it does
"""

from __future__ import annotations

import fnmatch
import os
import signal
import sys
import time
import xmlrpc.client
from pathlib import Path
from typing import Any

from roles.onhost import files, supervised_folders, supervisor, supervisor_boot, supervisor_logs, supervisor_programs
from roles.onhost.supervisor_logs import host_log, lines, lines_of_start, own_log, place_of_log, show
from roles.onhost.supervisor_rpc import connect

__all__ = [
    "host_log",
    "lines",
    "lines_of_start",
    "own_log",
    "place_of_log",
    "show",
]  # the manager's, as `services.Manager` has them

NAME = "supervisord"
LOOK_SECONDS = 0.1


class NoAnswer(str):
    """Why supervisord did nothing: it does not answer."""


def shown(unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit, in systemd's words."""
    state = supervisor.read_state(unit)
    loaded, here = supervisor.file_of(unit).is_file(), state["active"] not in ("inactive", "failed")
    stale = loaded and here and state.get("digest") != supervisor.digest(unit)
    ready_at = state.get("ready_at", 0.0) if state["active"] == "active" else 0.0
    found = {
        "Id": unit,
        "LoadState": "loaded" if loaded else "not-found",
        "UnitFileState": "enabled" if _enabled(unit).exists() else "disabled" if loaded else "",
        "ActiveState": state["active"],
        "SubState": state["sub"],
        "Result": state["result"],
        "NRestarts": str(state.get("restarts", 0)),
        "MainPID": str(state.get("pid", 0)),
        "InvocationID": state.get("invocation", ""),
        "StatusText": state.get("text", ""),
        "NeedDaemonReload": "yes" if stale else "no",
        "InactiveExitTimestampMonotonic": str(state.get("left", 0)),
        "ActiveEnterTimestampMonotonic": str(state.get("entered", 0)),
        "ActiveEnterTimestamp": time.strftime("%a %Y-%m-%d %H:%M:%S %Z", time.localtime(ready_at)) if ready_at else "",
    }
    return {name: found[name] for name in names if name in found}


def value(unit: str, name: str) -> str:
    """One property of a unit."""
    return shown(unit, name).get(name, "")


def _enabled(unit: str) -> Path:
    return supervisor.HOME / "enabled" / unit


def attempt(verb: str, *units: str, now: bool = False, wait: bool = True) -> str:
    """Do `verb`; why that failed."""
    if not supervisor.there():
        return NoAnswer("supervisord does not answer; run: sdfleet start HOST, which starts it and all services")
    try:
        return "; ".join(filter(None, [_one(verb, unit, now, wait) for unit in units]))
    except (OSError, xmlrpc.client.Error) as error:
        if supervisor_boot.answers():
            return f"supervisord: {error}"
        boot = supervisor.HOME.resolve().parent / "boot.sh"
        start = f"run: sdfleet start HOST, or {boot} there, which start it and all services"
        return NoAnswer(f"supervisord does not answer ({error}); {start}")


def _one(verb: str, unit: str, now: bool, wait: bool) -> str:
    if verb not in ("disable", "stop", "reset-failed", "kill") and not supervisor.file_of(unit).is_file():
        return f"there is no {unit}"
    if verb in ("enable", "disable"):
        _enabled(unit).parent.mkdir(exist_ok=True)
        if verb == "enable":
            _enabled(unit).touch()
        elif _enabled(unit).exists():
            _enabled(unit).unlink()
        supervisor_programs.write(unit)
        return _one("start" if verb == "enable" else "stop", unit, now, wait) if now else ""
    if verb == "reset-failed":
        state = supervisor.read_state(unit)
        if state["active"] == "failed":
            supervisor.write_state(unit, {**state, **supervisor.INACTIVE})
        return ""
    if verb == "kill":
        _signal_runner(unit, signal.SIGUSR1)
        return ""
    if verb == "try-restart" and not supervisor.started(_runner(unit)):
        return ""
    if verb in ("stop", "restart", "try-restart"):
        if verb != "stop" and _runner(unit):
            supervised_folders.keep(unit)
        _stop(unit)
    return _start(unit, wait) if verb in ("start", "restart", "try-restart") else ""


def _runner(unit: str) -> int:
    state = supervisor.read_state(unit)
    return int(state.get("runner", 0)) if state["active"] not in ("inactive", "failed") else 0


def _signal_runner(unit: str, number: int) -> None:
    if runner := _runner(unit):
        os.kill(runner, number)


def _stop(unit: str) -> None:
    server = connect()
    if supervisor_programs.process_state(server, unit) in supervisor_programs.UP:
        server.stopProcess(unit, True)
    supervisor_programs.forget(server, unit, keep=_enabled(unit).exists() or "@" not in unit)


def _start(unit: str, wait: bool) -> str:
    """Start a unit, if it does not run, and wait until it is ready, or has ended well."""
    its = supervisor.described(unit)
    for other in its["wants"]:
        _start(other, wait=True)
    supervisor_programs.write(unit)
    server, before = connect(), supervisor.read_state(unit)
    deadline = time.monotonic() + its["start_seconds"] + its["stop_seconds"] + supervisor_programs.GRACE_SECONDS
    supervisor_programs.read_anew(server, unit)
    while _is_over(server, unit) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    if supervisor_programs.process_state(server, unit) not in supervisor_programs.UP:
        supervisor_programs.start(server, unit)
    while wait:
        up, runner = supervisor_programs.process(server, unit)
        state = supervisor.read_state(unit)
        same = state.get("since") == before.get("since")
        current = state.get("runner") == runner if runner else not same
        if current and state["active"] == "active":
            return ""
        if current and (state["active"] == "failed" or state.get("restarts", 0) > (same and before.get("restarts", 0))):
            return f"{unit} did not start: {state['result']}"
        if up not in supervisor_programs.UP:
            ended_well = up == "EXITED" and current and state["active"] == "inactive"
            return (
                ""
                if ended_well
                else f"{unit} did not start: its runner ended; see {supervisor_logs.file_of(unit)}, and .runner there"
            )
        if time.monotonic() > deadline:
            return f"{unit} did not start: it is still not ready; see {supervisor_logs.file_of(unit)}"
        time.sleep(LOOK_SECONDS)
    return ""


def _is_over(server: Any, unit: str) -> bool:
    """Whether the unit's runner has said its last word, but has not ended yet."""
    up, runner = supervisor_programs.process(server, unit)
    state = supervisor.read_state(unit)
    over = state["active"] in ("inactive", "failed") and state.get("runner") == runner
    return up in supervisor_programs.UP and runner > 0 and over


def active(pattern: str) -> list[str]:
    """Names of the units that are active or being started."""
    return [unit for unit, state in _known() if fnmatch.fnmatch(unit, pattern) and state in ("active", "activating")]


def failed() -> list[str]:
    """Names of the units that have failed."""
    return [unit for unit, state in _known() if state == "failed"]


def unit_files() -> list[Path]:
    """The files of sdfleet's units."""
    return sorted((supervisor.HOME.resolve() / "services").glob("*.service"))


def _known() -> list[tuple[str, str]]:
    """Each unit that has run since the boot, with its state."""
    names = sorted(file.name[: -len(".json")] for file in supervisor.STATES.glob("*.json"))
    return [(unit, str(supervisor.read_state(unit)["active"])) for unit in names]


def main() -> None:
    """Do what the command line asks for; exit 1 with one sentence if that fails."""
    verb, *units = sys.argv[1:]
    if verb == "boot":
        supervisor_boot.boot(Path(units[0]))
        return
    if verb == "serves":
        print("yes" if supervisor_boot.serves(Path(units[0])) else "no")
        return
    if verb == "show":
        print("\n\n".join("\n".join(f"{k}={v}" for k, v in shown(unit, *supervisor.SHOWN).items()) for unit in units))
        return
    if verb == "main-process":
        print(value(units[0], "MainPID"))
        return
    if verb == "is-active":
        sys.exit(0 if value(units[0], "ActiveState") == "active" else 3)
    sys.exit(_do(verb, units) or 0)


def _do(verb: str, units: list[str]) -> str:
    """Why a command failed."""
    if verb == "hang-up":
        for unit in units:
            _signal_runner(unit, signal.SIGHUP)
        return ""
    if verb == "remove":
        why = attempt("disable", *units, now=True)
        for unit in units:
            supervised_folders.remove_cache(unit)
            for left in (supervisor.file_of(unit), supervisor.STATES / f"{unit}.json", supervisor_logs.file_of(unit)):
                files.remove(left)
        return why
    if verb == "run":
        return attempt("enable", *units) or attempt("restart", *units)
    if verb == "enable-now":
        return attempt("enable", *units, now=True)
    return attempt(verb, *units)
