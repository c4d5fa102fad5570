"""One thread a host asks it every few seconds, over one connection, what `status`, `releases` and `train` ask."""

import threading
import time
from collections import deque
from dataclasses import asdict, replace
from io import BytesIO

from pydantic import TypeAdapter

from deploy import releases, status
from deploy.connection import host_memory
from deploy.connection.several import attempt
from deploy.connection.ssh import HostError, Remote
from deploy.dashboard.board import Board
from deploy.dashboard.news import differences
from deploy.dashboard.runs import Runs
from deploy.dashboard.views import HostView, Reach, judged, release_views, update_view
from deploy.failures import failure
from deploy.rollout import state as rollout
from deploy.runs.transfer import RunHost
from deploy.shapes import HostState
from inventory.errors import SdfleetError
from roles.programs import receiver, sent

SECONDS = 3.0
"""Between two rounds."""
UNWATCHED_SECONDS = 30.0
"""The same while no page is open."""
LONGEST_SECONDS = 30.0
"""The longest wait between two attempts to reach a host that is lost."""
RELEASES_SECONDS = 60.0
"""How often to list the releases of a host on which nothing seems to change."""
LOADS = 60
"""How many rounds the load of the GPUs is kept for."""
LARGEST_SAMPLE = 8_000_000
"""Bytes of a picture."""
SAMPLE_SECONDS = 20.0
PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
"""How a picture begins, and its media type."""
VIEW = TypeAdapter(HostView)


class Collector(threading.Thread):
    """Keeps the board up to date for one host."""

    def __init__(self, remote: Remote, board: Board) -> None:
        super().__init__(name=f"dashboard {remote.name}", daemon=True)
        self.remote, self.board = remote, board
        host = remote.host
        self.view = HostView(name=host.name, address=host.connection.address, groups=tuple(host.groups), releases={})
        self.runs = Runs(RunHost(remote)) if host.has("trainer") else None
        self._loads: list[deque[int | None]] = []
        self._listed = 0.0
        self._stopping = threading.Event()
        self._fetching = threading.Semaphore(2)  # sshd takes ten sessions of one connection
        board.put("host", host.name, self.view)

    def run(self) -> None:
        wait = 1.0
        while not self._stopping.is_set():
            self.round()
            if self.view.reach == "answers":
                wait = 1.0
                self._rest(SECONDS, UNWATCHED_SECONDS)
            else:
                wait = min(2 * wait, LONGEST_SECONDS)
                self._rest(wait, UNWATCHED_SECONDS)

    def _rest(self, seconds: float, unwatched: float) -> None:
        began = time.monotonic()
        while time.monotonic() - began < (seconds if self.board.viewers else max(seconds, unwatched)):
            if self._stopping.wait(0.25):
                return

    def stop(self) -> None:
        """Ask the host no more, and take no answer for one that is broken off now."""
        self._stopping.set()

    def round(self) -> None:
        """Ask the host once and show what it says."""
        before, seen = self.view, self._asked()
        if self._stopping.is_set():  # what was broken off says nothing of the host
            return
        now = time.time()
        if isinstance(seen, HostError):
            self.remote.close()  # sudo's password went with the connection that brought it
            told, why = host_memory.warning(self.remote.host, now), failure(before.name, seen)
            why = why if seen.cure else replace(why, next="")  # it is tried again anyway
            reach: Reach = "lost" if seen.unreachable else "failed"
            view = replace(before, reach=reach, level="bad", error=why, warning=told)
        else:
            view = replace(seen, reach="answers", error=None, warning="")
            self.board.saw(before.name, now)
        self.view = view if view.reach == before.reach else replace(view, since=now)
        self.board.tell(differences(before, self.view, now))
        self.board.put("host", before.name, self.view)
        self._show_runs()

    def _asked(self) -> HostView | HostError:
        try:
            return attempt(self.remote, self._look)
        except (SdfleetError, OSError) as error:  # of this machine: a password that cannot be read, too many processes
            return HostError(str(error), host=self.remote.name)

    def _look(self, remote: Remote) -> HostView:
        """What the host says now. Raises HostError, or what `attempt` makes one of."""
        state = status.look(remote)
        if not self.view.state:
            host_memory.seen(remote.host, time.time(), state.provider)
        update = update_view(rollout.read(remote))
        level, drawing, problems = judged(state)
        loads = self._load(state)
        view = replace(self.view, state=state, level=level, drawing=drawing, problems=problems)
        view = replace(view, update=update, loads=loads)
        if self._releases_due(view):
            view = replace(view, releases=release_views(releases.of(remote)))
            self._listed = time.monotonic()
        view = replace(view, runs=self.runs.look(state.runs)) if self.runs else view
        return VIEW.validate_python(asdict(view))  # the page relies on the types, and the host may say anything

    def _load(self, state: HostState) -> tuple[tuple[int | None, ...], ...]:
        if len(self._loads) != len(state.gpus):
            self._loads = [deque(maxlen=LOADS) for _ in state.gpus]
        for kept, gpu in zip(self._loads, state.gpus, strict=True):
            kept.append(gpu.load_percent)
        return tuple(map(tuple, self._loads))

    def _releases_due(self, view: HostView) -> bool:
        old, new = (
            {role: app.release for role, app in one.state.drawing.items()} if one.state else {}
            for one in (self.view, view)
        )
        moved = old != new or self.view.update != view.update
        return not self._listed or moved or time.monotonic() - self._listed > RELEASES_SECONDS

    def _show_runs(self) -> None:
        if self.runs:
            shown = {f"{self.remote.name}/{name}": detail for name, detail in self.runs.details().items()}
            self.board.keep("run", f"{self.remote.name}/", shown)

    def sample(self, run: str, key: str) -> tuple[bytes, str]:
        """A picture that the log of a run names, and its media type.

        Raises LookupError if no log names it, HostError if it cannot be fetched or is no picture.
        """
        if self.runs is None:
            raise LookupError(run)
        place = self.remote.host.paths.run(run) / "samples" / self.runs.tails[run].samples[key].file
        if self.view.reach != "answers":
            raise HostError("cannot be reached", host=self.remote.name, unreachable=True)
        into = BytesIO()
        with self._fetching:
            command = receiver(place, 0, LARGEST_SAMPLE + 1)
            self.remote.stream(
                command, sent("send_file").encode(), into, LARGEST_SAMPLE, f"sending {place}", SAMPLE_SECONDS
            )
        content = into.getvalue()
        kind = next((kind for head, kind in PICTURES.items() if content.startswith(head)), None)
        if kind is None:
            raise HostError(f"{place} is no PNG or JPEG", host=self.remote.name)
        return content, kind
