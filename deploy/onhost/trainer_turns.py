"""Has two trainers do the steps of training/run/trial.py in turns. Runs on a host, as the user that trains.

What to do comes as JSON over standard input, and what was measured goes as JSON to standard output. A file of its own
folder is all that it writes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from roles.onhost.lock_file import open_lock

WARM = 5
"""Steps that are not counted: torch compiles, captures and allocates in them."""
SAID = 400
"""Characters of an error that are told."""
LAST = 4000
"""Bytes at the end of what a trainer says that are read for it."""
FINISHED = 30
"""Seconds that must be left for another run."""
LONGER, START = 3, 60
"""How many times as long as the slowest run before it one may take, and seconds besides, though the time is over."""
BUSY = "a training, or an earlier trial, is at work there"
TEMPORARY = "/var/tmp"
"""On a disk, as what Python compiles may be some hundred MB."""


class TrialError(Exception):
    """A trainer did not come to its end; the text says why."""


class NoRoomError(Exception):
    """The disk is full, which is no fault of a trainer."""


def main() -> None:
    """Measure. Standard output has `failed` (whose trainer did not train, and why) and `runs`, a list for each.

    Where a training holds the device, or the disk is full, it has `unmeasured` alone, which says so.
    """
    wants = json.loads(sys.stdin.buffer.read())
    with _held(Path(wants["lock"])) as free, tempfile.TemporaryDirectory("", "sdfleet-trial-", TEMPORARY) as home:
        try:
            told = measured(wants, Path(home)) if free else {"unmeasured": BUSY}
        except NoRoomError as error:
            told = {"unmeasured": str(error)}
        print(json.dumps(told))


@contextlib.contextmanager
def _held(lock: Path) -> Iterator[bool]:
    """Hold the lock of a device, for which trainings wait; whether it was free."""
    opened = open_lock(lock)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(opened)


def measured(wants: dict[str, Any], home: Path) -> dict[str, Any]:
    """What each of the trainers took in its turns.

    + wants: `trainers` (name -> its program), `order` (names, a turn each), `seconds` (for all), `gpu` (number of the
      one to use, none if empty), `lock` (of that, or of the CPU), `compiled` (folder of compiled Python), `python` and
      `code` of the one that writes the trial
    + home: an empty folder
    """
    until = time.monotonic() + wants["seconds"]
    environment, trial = _environment(wants, home), home / "trial"
    found: dict[str, Any] = {"failed": {}, "runs": {name: [] for name in wants["trainers"]}}
    try:
        trial.mkdir()
        write = "from training.run.trial import main; main()"
        code = {**environment, "PYTHONPATH": wants["code"]}
        _done([wants["python"], "-P", "-c", write, str(trial)], code, wants["seconds"])
    except TrialError as error:
        found["failed"][""] = str(error)
        return found
    slowest = 0.0
    for number, name in enumerate(wants["order"]):
        began, run = time.monotonic(), home / f"run-{number}"
        if number > 1 and until - began < FINISHED:
            break
        try:
            words = [wants["trainers"][name], "run", str(trial / "config.toml"), "--run", str(run)]
            _done(words, environment, max(until - began, LONGER * slowest + START))
            found["runs"][name].append(_figures(run))
            slowest = max(slowest, time.monotonic() - began)
        except TrialError as error:
            found["failed"].setdefault(name, str(error))
    return found


def _environment(wants: dict[str, Any], home: Path) -> dict[str, str]:
    compiled = wants["compiled"] if os.access(wants["compiled"], os.W_OK) else str(home / "compiled")
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "TMPDIR": str(home),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "PYTHONPYCACHEPREFIX": compiled,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": wants["gpu"],
    }


def _done(words: list[str], environment: dict[str, str], seconds: float) -> None:
    """Run a program to its end. Raises TrialError, or NoRoomError."""
    null, said = subprocess.DEVNULL, Path(environment["HOME"], "said")
    try:
        with said.open("wb") as errors:
            done = subprocess.run(
                words, env=environment, stdin=null, stdout=null, stderr=errors, timeout=seconds, check=False
            )
    except subprocess.TimeoutExpired as error:
        raise TrialError("it did not end in its time") from error
    except OSError as error:
        raise TrialError(f"it does not start: {error}") from error
    if how := killed(done.returncode):
        raise TrialError(how)
    if done.returncode:
        lines = _end(said).decode(errors="replace").strip().splitlines() or ["it says nothing"]
        if any(os.strerror(code) in lines[-1] for code in (errno.ENOSPC, errno.EDQUOT)):
            raise NoRoomError(f"{TEMPORARY}: {lines[-1][:SAID]}")
        raise TrialError(lines[-1][:SAID])


def killed(status: int) -> str:
    """How a program was ended that did not end by itself (status as `Popen.returncode`); empty if it did."""
    why = ", as by the kernel where main memory runs short; see trainer.memory_max" if status == -signal.SIGKILL else ""
    return f"it was ended by signal {-status}{why}" if status < 0 else ""


def _end(file: Path) -> bytes:
    """The last bytes of a file, which may be long."""
    with file.open("rb") as opened:
        opened.seek(max(opened.seek(0, os.SEEK_END) - LAST, 0))
        return opened.read()


def _figures(run: Path) -> dict[str, Any]:
    """What a run took: `seconds` of a step, bytes at the peak by kind of memory, and its losses."""
    try:
        events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        steps = [event for event in events if event["event"] == "step"]
        times = [float(step["time"]) for step in steps][WARM:]
        peak = int(max(step["memory_mb"] for step in steps)) << 20
        losses = [repr(float(step["loss"])) for step in steps]
        on_card = json.loads((run / "run.json").read_text())["machine"]["gpus"]
        between = [times[number] - times[number - 1] for number in range(1, len(times))]
        seconds = round(statistics.median(between), 5)
    except (OSError, ValueError, LookupError, TypeError, statistics.StatisticsError) as error:
        raise TrialError(f"its log cannot be read: {error!r}"[:SAID]) from error
    return {"seconds": seconds, "card" if on_card else "processes": peak, "losses": losses}
