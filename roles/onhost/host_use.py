"""What uses a host now: trainings, pictures, downloads, and changes by sdfleet. Runs on hosts, as root."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from roles.onhost import gpus, loopback, services, transfers
from roles.onhost.drawing_applications import APPLICATIONS

BUSY_PERCENT = 5
"""A card that nobody uses shows 0."""
ARRIVING_SECONDS = 600
"""How long after their last file inputs of a run count as on their way."""
STEPS = Path("/run/sdfleet.steps")
"""`roles.paths.STEP_LOCK`."""
RUNS = "lora-train@"
LORA_SCRIPTS = "sdlora"
"""`roles.accounts.LORA_SCRIPTS`."""
GUI = "gui.py"
"""The script that runs as this user all the time, as `roles.lora_scripts.service` starts it; TensorBoard is none."""
PROCESSES = Path("/proc")
DEVICES = Path("/dev")
CARDS = "nvidia[0-9]*"
"""The devices of NVIDIA's cards there; none computes without."""


class Unknown(Exception):
    """Something that uses hosts does not tell whether it does so now."""


class Use:
    """Looks at the host again and again; a picture that came and went in between is seen too."""

    def __init__(self, root: Path, ports: Mapping[str, int]) -> None:
        """
        + root: the data root
        + ports: of the applications that draw, by role; 0 if the host does not have it
        """
        self.root = root
        self.ports = {app: port for app, port in ports.items() if port}
        self._last: dict[str, str] = {}
        """The last picture of each of them."""

    def look(self) -> tuple[list[str], list[str]]:
        """What uses the host, and what may use it; a sentence each.

        Trainings that cannot be listed count as there; a WebUI or a driver that hangs, or a card that does not tell,
        would never be idle so.
        """
        sure: list[str] = []
        unsure: list[str] = []
        pictures = [partial(self._pictures, app) for app in self.ports]
        asks: list[Callable[[], Iterator[str]]] = [self._trainings, self._scripts, *pictures, self._cards, self._files]
        for ask in asks:
            try:
                sure += ask()
            except Unknown as unknown:
                unsure.append(str(unknown))
            except OSError as error:  # TimeoutError among them
                sure.append(f"what runs is not known: {error}")
        return sure, unsure

    def _trainings(self) -> Iterator[str]:
        for unit in services.manager().active(f"{RUNS}*"):
            yield f"{unit[len(RUNS) :].rpartition('.')[0]} trains, or waits for its turn"

    def _scripts(self) -> Iterator[str]:
        """Trainings of lora-scripts, by their user: they outlive the GUI, so it is no parent of them any more.

        Each is a Python with a script (accelerate's launcher with the script of sd-scripts, and what that starts).
        """
        for script in sorted(_scripts_of(LORA_SCRIPTS) - {GUI}):
            yield f"lora-scripts trains ({script})"

    def _pictures(self, app: str) -> Iterator[str]:
        its, port = APPLICATIONS[app], self.ports[app]
        active, starts = _state(its.UNIT)
        if starts:
            yield f"{its.NAME} starts"
        if not active:
            return
        try:
            draws, last = its.progress(port)
        except loopback.AnswerError as error:
            raise Unknown(f"{its.NAME} may be drawing: it {error}") from error
        before, self._last[app] = self._last.get(app), last
        if draws:
            yield f"{its.NAME} {draws}"
        elif before not in (None, last):
            yield f"{its.NAME} has drawn"
        if queued := its.queued(port):
            yield f"{queued} picture(s) wait in {its.NAME}'s queue"

    def _cards(self) -> Iterator[str]:
        try:
            rows = gpus.rows("index", "utilization.gpu")
        except TimeoutError as slow:
            raise Unknown(f"a card may compute: {slow}") from slow
        if not rows and any(DEVICES.glob(CARDS)):
            raise Unknown("a card may compute: there is one, but nvidia-smi fails or is missing")
        for index, percent in rows:
            if percent.isdigit() and int(percent) >= BUSY_PERCENT:
                yield f"GPU {index} computes"
        if silent := [f"GPU {index} shows {percent}" for index, percent in rows if not percent.isdigit()]:
            raise Unknown(f"a card may compute: {', '.join(silent)} in place of its use")

    def _files(self) -> Iterator[str]:
        if _locked(self.root / "store/lock"):
            yield "models are downloaded"
        if _locked(transfers.LOCK):
            yield "files are fetched from it"
        if _locked(STEPS):
            yield "sdfleet changes it"
        now = time.time()
        for folder in self.root.glob("datasets/incoming-*"):
            with contextlib.suppress(FileNotFoundError):
                if now - folder.stat().st_mtime < ARRIVING_SECONDS:
                    yield "inputs of a run arrive"


def _state(unit: str) -> tuple[bool, bool]:
    """Whether a unit is active, and whether it starts: a request would end a WebUI's start.

    One that fails again and again is of no use to anybody.
    """
    its = services.shown(unit, "ActiveState", "NRestarts")
    state, again = its.get("ActiveState", "inactive"), its.get("NRestarts", "0") != "0"
    return state == "active", state == "reloading" or (state == "activating" and not again)


def _scripts_of(user: str) -> set[str]:
    """Names of the scripts that a user's Pythons run."""
    found: set[str] = set()
    with contextlib.suppress(KeyError):
        uid = pwd.getpwnam(user).pw_uid
        for place in PROCESSES.glob("[0-9]*"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if place.stat().st_uid != uid:
                    continue
                program, *words = (place / "cmdline").read_bytes().decode(errors="replace").split("\0")
                scripts = [Path(word).name for word in words if word.endswith(".py")]
                found.update(scripts[:1] if Path(program).name.startswith("python") else [])
    return found


def _locked(file: Path) -> bool:
    """Whether a program holds the lock of a file, shared or not. Who wants it now waits for us a moment at most."""
    try:
        opened = os.open(str(file), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(opened)
    return False
