"""A change of this host that must be confirmed from outside, or else the host puts back what served before.

    confirm arm --root FOLDER --seconds N --token T --by WHO [--home FOLDER] [--file FILE] [--answered URL]
    confirm pending                 print what waits for its confirmation
    confirm done [--token T]        confirm it; without a token, whatever waits
    confirm watch                   wait for the confirmation, and put back what served before if there is none

The time runs while no controller holds the host's lock: it ends with the controller, or with its silence. What waits
is in a file that outlives a reboot, and its name says what holds: whoever renames or removes `pending.json` first, the
watch or the confirmation, has decided.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from roles.onhost import files, release_history, services, what_serves
from roles.onhost.lock_file import open_lock

UNIT = "sdfleet-confirm.service"
STATE = Path("/etc/sdfleet/confirm")
"""`roles.paths.CONFIRM`."""
LOCK = Path("/run/sdfleet.lock")
"""`roles.paths.HOST_LOCK`."""
STEPS = Path("/run/sdfleet.steps")
"""`roles.paths.STEP_LOCK`."""
LOOK_SECONDS = 0.5
NOT_CONFIRMED = "not confirmed"


def _file(name: str) -> Path:
    return STATE / f"{name}.json"


def _write(name: str, known: dict[str, Any]) -> None:
    STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
    # It may hold the password of a proxy and the gateway's key.
    files.write(_file(name), json.dumps(known, indent=1) + "\n", 0o600)


def _sync() -> None:
    """Have names of files last: a change that is confirmed must stay so after a power cut."""
    folder = os.open(STATE, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def arm(options: argparse.Namespace) -> dict[str, Any]:
    """Write down what serves and watch; what waits then, or nothing if nothing serves. Raises OSError.

    A change that an earlier controller left unconfirmed goes on with this one: what served before both is put back.
    """
    if _file("returning").exists():
        services.change("reset-failed", UNIT)
        services.change("start", UNIT, wait=False)  # the lock is a controller's: so it waits for that, or has ended
        raise OSError("the host is putting back what served before; run this again when it is done")
    if services.value(UNIT, "LoadState") != "loaded":
        return {"unready": True}  # the base role brings it
    known = files.read_json(_file("pending"))
    if not known:
        homes = [*sorted(Path(options.root, "apps").glob("*")), *options.home]
        units = [file for file in services.manager().unit_files() if file.name != UNIT]
        known = what_serves.look(homes, units, options.file)
        if not known["apps"]:
            return {}
        known["answered"] = options.answered
    asked = {"token": options.token, "by": options.by, "seconds": options.seconds, "at": release_history.timestamp()}
    _write("pending", {**known, **asked})
    if not files.read_json(_file("pending")):
        files.remove(_file("pending"))
        raise OSError(f"what serves takes more than {files.SMALL / 1e6:g} MB to write down")
    _sync()
    # A restart: one that is about to end, since the last change is confirmed, would not see this one.
    if why := services.manager().attempt("restart", UNIT):
        files.remove(_file("pending"))
        raise OSError(f"{UNIT} does not start: {why}")
    return known


def done(token: str) -> dict[str, Any]:
    """Confirm what waits. The answer has `undone`, what was put back instead if that came first, and `other`, whether
    it is a change of another run that waits.

    + token: names the change; empty for whatever waits
    """
    waiting = files.read_json(_file("pending"))
    if waiting and token not in ("", waiting.get("token")):
        return {"undone": [], "other": True}
    if waiting:
        with contextlib.suppress(FileNotFoundError):
            _file("pending").unlink()
            _sync()
            return {"undone": [], "other": False}
    # The host's lock has been ours since; what was undone before that, it has forgotten.
    told = ["it is putting back what served before"] if _file("returning").exists() else []
    undone = files.read_json(_file("undone"))
    return {"undone": [*told, *undone.get("done", []), *undone.get("failed", [])], "other": False}


def watch() -> None:
    """Wait until the change is confirmed; put back what served before if it is not."""
    free_since: float | None = None
    while not _file("returning").exists():
        waiting = files.read_json(_file("pending"))
        if not waiting:
            return
        with _locked() as free:
            now = time.monotonic()
            free_since = None if not free else now if free_since is None else free_since
            if free_since is not None and now - free_since >= float(waiting["seconds"]):
                if _begin():
                    put_back()
                return
        time.sleep(LOOK_SECONDS)
    with _locked(wait=True):
        put_back()


def _begin() -> bool:
    """Decide that the change is undone; False if it has been confirmed meanwhile."""
    try:
        _file("pending").rename(_file("returning"))
    except FileNotFoundError:
        return False
    _sync()
    return True


@contextlib.contextmanager
def _locked(wait: bool = False) -> Iterator[bool]:
    """Hold both of the host's locks, as a controller and its last step do; False if one of them is another's.

    + wait: until they are free
    """
    mode = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
    with contextlib.ExitStack() as held:
        try:
            for place in (LOCK, STEPS):
                opened = open_lock(place)
                held.callback(os.close, opened)
                fcntl.flock(opened, mode)
        except BlockingIOError:
            yield False
            return
        yield True


def put_back() -> None:
    """Put back what served before the change that `returning.json` tells of. The caller holds the host's locks."""
    known = files.read_json(_file("returning"))
    holder = f"the host itself, which goes back: the change by {known.get('by', 'a controller')} was {NOT_CONFIRMED},"
    LOCK.with_name(f"{LOCK.name}.holder").write_text(f"{holder}\n")
    LOCK.with_name(f"{LOCK.name}.ending").touch()  # a controller that comes now waits, and is not refused
    with contextlib.suppress(FileNotFoundError):
        LOCK.with_name(f"{LOCK.name}.change").unlink()  # nor does it think that it has the lock
    print(f"{holder} since {known.get('at', 'an unknown time')}", flush=True)
    try:
        told, failed = what_serves.put_back(known, NOT_CONFIRMED)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        told, failed = [], [f"{_file('returning')} is damaged ({type(error).__name__}: {error})"]
    for line in [*told, *(f"could not be put back: {line}" for line in failed)]:
        print(line, flush=True)
    if told or failed:
        who = {key: known.get(key, "") for key in ("token", "by")}
        # Not even a full disk keeps it from having an end: the log has it too.
        with contextlib.suppress(OSError):
            _write("undone", {**who, "at": release_history.timestamp(), "done": told, "failed": failed})
    files.remove(_file("returning"))
    _sync()


def told() -> dict[str, Any]:
    """What `status` tells: `undone`, what the host undid by itself, and `waits`, what it may still undo."""
    undone, waiting = files.read_json(_file("undone")), files.read_json(_file("pending"))
    return {
        "undone": {key: undone.get(key) for key in ("by", "at", "done", "failed")} if undone else {},
        "waits": {key: waiting.get(key) for key in ("by", "at", "seconds")} if waiting else {},
    }


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    arming = verbs.add_parser("arm")
    arming.add_argument("--root", type=Path, required=True, help="the data root")
    arming.add_argument("--seconds", type=float, required=True, help="how long to wait without a controller")
    arming.add_argument("--token", required=True, help="names this change")
    arming.add_argument("--by", required=True, help="who makes it")
    arming.add_argument("--home", type=Path, action="append", default=[], help="a further folder with releases/")
    arming.add_argument("--file", type=Path, action="append", default=[], help="a file to put back, if it changes")
    arming.add_argument("--answered", action="append", default=[], help="a URL that must answer again")
    verbs.add_parser("pending")
    confirming = verbs.add_parser("done")
    confirming.add_argument("--token", default="", help="names the change; whatever waits if not given")
    verbs.add_parser("watch")
    return parser.parse_args()


def main() -> None:
    """Exit 1 with one sentence if the host cannot be armed."""
    options = arguments()
    if options.verb == "watch":
        watch()
    elif options.verb == "done":
        print(json.dumps(done(options.token)))
    else:
        try:
            known = arm(options) if options.verb == "arm" else files.read_json(_file("pending"))
        except OSError as error:
            sys.exit(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        unready = bool(known.get("unready"))
        print(
            json.dumps(
                {"waits": bool(known) and not unready, "unready": unready, "answered": known.get("answered", [])}
            )
        )
