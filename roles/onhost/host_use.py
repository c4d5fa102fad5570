"""What uses a host now: trainings, pictures, downloads, and changes by sdfleet. Runs on hosts, as root."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import time
from collections.abc import Iterator
from pathlib import Path

from roles.onhost import comfyui_api, gpus, loopback, services, transfers, webui_api

BUSY_PERCENT = 5
"""A card that nobody uses shows 0."""
ARRIVING_SECONDS = 600
"""How long after their last file inputs of a run count as on their way."""
STEPS = Path("/run/sdfleet.steps")
"""`roles.paths.STEP_LOCK`."""
WEBUI = "sdfleet-webui.service"
COMFYUI = "sdfleet-comfyui.service"
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

    def __init__(self, root: Path, webui_port: int, comfyui_port: int = 0) -> None:
        """
        + root: the data root
        + webui_port, comfyui_port: theirs; 0 if the host has none
        """
        self.root, self.port, self.comfyui_port = root, webui_port, comfyui_port
        self._last_picture: str | None = None
        self._last_order: str | None = None

    def look(self) -> tuple[list[str], list[str]]:
        """What uses the host, and what may use it; a sentence each.

        Trainings that cannot be listed count as there; a WebUI or a driver that hangs, or a card that does not tell,
        would never be idle so.
        """
        sure: list[str] = []
        unsure: list[str] = []
        for ask in (self._trainings, self._scripts, self._pictures, self._orders, self._cards, self._files):
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

    def _pictures(self) -> Iterator[str]:
        active, starts = _state(WEBUI) if self.port else (False, False)
        if starts:
            yield "the WebUI starts"
        if not active:
            return
        try:
            told = webui_api.ask(self.port, "/sdapi/v1/progress?skip_current_image=true")["state"]
            draws, last = bool(told["job_count"]), str(told.get("job_timestamp"))
        except loopback.AnswerError as error:
            raise Unknown(f"the WebUI may be drawing: it {error}") from error
        except (LookupError, TypeError, AttributeError) as error:
            raise Unknown("the WebUI may be drawing: its answer is none of a WebUI") from error
        before, self._last_picture = self._last_picture, last
        if draws:
            yield "the WebUI draws"
        elif before not in (None, last):
            yield "the WebUI has drawn"
        if waiting := self._waiting():
            yield f"{waiting} picture(s) wait in the WebUI's queue"

    def _orders(self) -> Iterator[str]:
        """The same of ComfyUI."""
        active, starts = _state(COMFYUI) if self.comfyui_port else (False, False)
        if starts:
            yield "ComfyUI starts"
        if not active:
            return
        try:
            draws = comfyui_api.waiting(self.comfyui_port)
            last = ", ".join(comfyui_api.ask(self.comfyui_port, "/history?max_items=1"))
        except loopback.AnswerError as error:
            raise Unknown(f"ComfyUI may be drawing: it {error}") from error
        except TypeError as error:
            raise Unknown("ComfyUI may be drawing: its answer is none of a ComfyUI") from error
        before, self._last_order = self._last_order, last
        if draws:
            yield f"ComfyUI draws, or has in its queue, {draws} picture(s)"
        elif before not in (None, last):
            yield "ComfyUI has drawn"

    def _waiting(self) -> int:
        """How many requests wait for their turn; 0 if the WebUI does not tell, as older ones."""
        try:
            return int(webui_api.ask(self.port, "/internal/pending-tasks")["size"])
        except (loopback.AnswerError, LookupError, TypeError, ValueError):
            return 0

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
