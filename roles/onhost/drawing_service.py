"""Run an application that draws as a systemd service of Type=notify that is ready when it has drawn its first picture.

No HTTP request reaches it before it has started: served_process opens its known port when it is ready. A picture
counts because everything else answers even when no model could be loaded. Without a checkpoint the service is ready
too, says so, and draws as soon as one appears. On SIGTERM no new request is taken, and a picture in the making is
finished, up to a limit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from roles.onhost import files, loopback, systemd
from roles.onhost.png_pixels import PictureError
from roles.onhost.served_process import ServedProcess, ServiceError

LOOK_SECONDS = 15
"""How often to look for a checkpoint while there is none."""
GPU_TEST = "import torch; torch.zeros(1, device='cuda').add_(1).cpu()"


class Drawer(Protocol):
    """What differs between such applications. Each request raises loopback.AnswerError."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def mark(self) -> bytes:
        """In the line of its output that says that it has started."""

    def command(self, port: int) -> list[str]:
        """The command that starts it on a loopback port."""

    def prepare(self) -> None:
        """What comes before its start. Raises ServiceError."""

    def has_checkpoint(self, port: int, seconds: float) -> bool:
        """Whether it has a model to draw with."""

    def look_again(self, port: int, seconds: float) -> None:
        """Have it look for models again."""

    def first_picture(self, port: int, seconds: float) -> dict[str, Any]:
        """How many `seconds` a small picture took, and its `sha256`. Raises PictureError."""

    def draws(self, port: int, seconds: float) -> bool:
        """Whether a picture is in the making, or waits to be."""


class DrawingService:
    """One such application and what is known of it."""

    def __init__(self, drawer: Drawer, options: argparse.Namespace) -> None:
        self.drawer, self.options = drawer, options
        self.stopping = threading.Event()
        self.process = ServedProcess(drawer.name, options.port, drawer.command, drawer.mark)
        self.state: dict[str, Any] = {
            "release": options.release,
            "fingerprint": options.fingerprint,
            "ready": False,
            "picture": None,
            "problem": "starting",
            # Kept while systemd restarts the unit: why the service ended last, for `sdfleet status`.
            "fault": files.read_json(options.state).get("fault"),
        }

    def run(self) -> None:
        """Start, prove, and serve until SIGTERM; ServiceError for any other end."""
        signal.signal(signal.SIGTERM, self.on_stop)
        self.tell()
        try:
            if self.options.device == "cuda":
                test_gpu()
            self.drawer.prepare()
            self.process.start()
            self.wait_for_start()
            self.prove()
            self.watch()
            self.drain()
        except ServiceError as error:
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self.tell(ready=False, problem=str(error), fault={"at": now, "reason": str(error)})
            raise
        finally:
            self.process.end()

    def on_stop(self, number: int, frame: types.FrameType | None) -> None:
        """SIGTERM: the waiting loops see it and come to an end."""
        self.stopping.set()

    def wait_for_start(self) -> None:
        """Until the log says it has started."""
        deadline = time.monotonic() + self.options.start_timeout
        while not self.process.started.wait(0.1) and not self.stopping.is_set():
            self.process.check("before it had started")
            if time.monotonic() > deadline:
                raise ServiceError(f"{self.drawer.name} has not started within {self.options.start_timeout} s")

    def watch(self) -> None:
        """Until SIGTERM; ServiceError if it ends by itself."""
        while not self.stopping.wait(0.5):
            self.process.check("while it served")

    def prove(self) -> None:
        """Draw the first picture; without a checkpoint be ready all the same and wait for one."""
        while not self.stopping.is_set():
            with self.asking():
                found = self.drawer.has_checkpoint(self.process.port, self.options.start_timeout)
            if found:
                self.draw()
                return
            self.tell(ready=True, problem="no checkpoint yet: put one into the fleet's models")
            for _ in range(LOOK_SECONDS):
                self.process.check("while it waited for a checkpoint")
                self.stopping.wait(1)
            with self.asking():
                self.drawer.look_again(self.process.port, self.options.start_timeout)

    def draw(self) -> None:
        """One small picture; ServiceError if there is none, or all its pixels are alike."""
        try:
            picture = self.drawer.first_picture(self.process.port, self.options.start_timeout)
        except PictureError as error:
            self.process.settle("while it drew its first picture")
            raise ServiceError(str(error)) from error
        self.tell(ready=True, picture=picture, problem="")

    def tell(self, **news: Any) -> None:
        """Write the state where status and verify read it, and tell systemd."""
        if news.get("ready") and not self.state["ready"]:
            self.process.open_port()
        self.state.update(news)
        files.write(self.options.state, json.dumps(self.state) + "\n")
        if self.state["problem"]:
            print(f"sdfleet: {self.state['problem']}", flush=True)
        status = (
            self.state["problem"].replace("\n", " ")
            or f"drew its first picture in {self.state['picture']['seconds']} s"
        )
        systemd.notify(f"STATUS={status}" + ("\nREADY=1" if self.state["ready"] else ""))

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        """Turn a request that gets no good answer into ServiceError."""
        try:
            yield
        except loopback.AnswerError as error:
            if not error.status:
                self.process.settle("while it answered")
            raise ServiceError(f"{self.drawer.name} {error}") from error

    def drain(self) -> None:
        """Take no new request, and wait until no picture is in the making, up to the limit."""
        self.process.refuse_requests()
        deadline = time.monotonic() + self.options.drain
        with contextlib.suppress(loopback.AnswerError):
            while self.process.serves() and time.monotonic() < deadline:
                if not self.drawer.draws(self.process.port, self.options.drain):
                    return
                time.sleep(0.3)


def test_gpu() -> None:
    """ServiceError if torch can't compute on the GPU: drawing on the CPU instead would hide the fault."""
    done = subprocess.run([sys.executable, "-c", GPU_TEST], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ServiceError(f"torch cannot use this host's GPU: {reason}; see what nvidia-smi says of the driver")


def parser(about: str, program: str) -> argparse.ArgumentParser:
    """The options that all of them have.

    + about: the text of --help
    + program: what the arguments at the end are for
    """
    found = argparse.ArgumentParser(description=about)
    found.add_argument("--port", type=int, required=True, help="loopback port at which it is known")
    found.add_argument("--state", type=Path, required=True, help="JSON file to write the state to")
    found.add_argument("--release", required=True, help="name of the release that runs")
    found.add_argument("--fingerprint", required=True, help="hash of all that would need a restart if it changed")
    found.add_argument("--device", choices=("cpu", "cuda"), required=True)
    found.add_argument("--start-timeout", type=int, default=600, help="s until the start counts as failed")
    found.add_argument("--drain", type=int, default=60, help="s a picture in the making may take at the end")
    found.add_argument("arguments", nargs="*", help=f"arguments of {program} but the port, after --")
    return found


def serve(drawer: Drawer, options: argparse.Namespace) -> None:
    """Serve until the end; exit 1 with one sentence if it is not fit for service."""
    try:
        DrawingService(drawer, options).run()
    except ServiceError as error:
        sys.exit(f"sdfleet: {error}")
