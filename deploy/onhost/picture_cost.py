"""What the gate's picture costs a service that draws: seconds, and memory at the peak. Runs on the service's host."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from roles.onhost import files, loopback, services, supervisor
from roles.onhost.drawing_applications import APPLICATIONS

MEASURE_SECONDS = 60
"""No further picture is begun after so long."""
IDLE_SECONDS = 60
"""How long other people's pictures are waited for, all together: a picture behind one would count its time too."""
BUSY = f"it drew for others for {IDLE_SECONDS} s"
LOOK_SECONDS = 0.05
"""How often to ask for the card's memory. torch keeps what a picture took until its end, so no peak comes between."""
ANSWER_SECONDS = 10


def measured(app: str, unit: str, port: int, draw: Callable[[], object], pictures: int) -> dict[str, Any]:
    """Draw up to so many pictures: `took` (s of each), and `card` and `processes`, the bytes at the peak of them.

    Both peaks are of these pictures alone, not of what people asked of a service that has run for days. `card` is 0
    where the service uses none. Of one that draws for others all the time there is only `unmeasured`, which says so.
    """
    took: list[float] = []
    until, patience = time.monotonic() + MEASURE_SECONDS, time.monotonic() + IDLE_SECONDS
    if not _becomes_idle(app, port, patience):
        return {"unmeasured": BUSY}
    _forget_peaks(unit)
    with _Highest(lambda: _on_card(app, port)) as card:
        while len(took) < pictures and (not took or time.monotonic() < until):
            if took and not _becomes_idle(app, port, patience):
                return {"unmeasured": BUSY}
            began = time.monotonic()
            draw()
            took.append(time.monotonic() - began)
    return {"took": took, "card": card.most, "processes": _in_processes(unit)}


class _Highest:
    """The highest value that is seen, again and again, while a `with` block runs; 0 at first ends the looking."""

    def __init__(self, value: Callable[[], int | None]) -> None:
        self.most = 0
        self._value, self._ended = value, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _Highest:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while (seen := self._value()) != 0 or self.most:
            self.most = max(self.most, seen or 0)
            if self._ended.wait(LOOK_SECONDS):
                return


def _on_card(app: str, port: int) -> int | None:
    """Bytes of the card that the service's torch holds now; 0 if it has none or cannot tell, None without an answer."""
    try:
        return APPLICATIONS[app].card_memory(port, ANSWER_SECONDS)
    except loopback.AnswerError:
        return None


def _becomes_idle(app: str, port: int, until: float) -> bool:
    """Wait for pictures of others; whether they ended in time. What does not tell is taken as idle."""
    its = APPLICATIONS[app]
    with suppress(loopback.AnswerError):
        while its.progress(port)[0] or its.queued(port):
            if time.monotonic() >= until:
                return False
            time.sleep(LOOK_SECONDS)
    return True


def _processes(unit: str) -> list[Path]:
    """The places in /proc of a service's processes."""
    main = 0
    with suppress(TimeoutError):
        main = int(services.value(unit, "MainPID") or 0)
    return [Path(f"/proc/{pid}") for pid in (main, *supervisor.children(main))] if main else []


def _forget_peaks(unit: str) -> None:
    """Have the kernel count peaks of memory from now on; where it may not, they stay those since the start."""
    for place in _processes(unit):
        with suppress(OSError):
            (place / "clear_refs").write_text("5")


def _in_processes(unit: str) -> int:
    """Bytes of main memory at the peaks of a service's processes."""
    told = [files.read(place / "status").decode(errors="replace") for place in _processes(unit)]
    found = [re.search(r"^VmHWM:\s+(\d+) kB$", text, re.MULTILINE) for text in told]
    return sum(1024 * int(peak[1]) for peak in found if peak)
