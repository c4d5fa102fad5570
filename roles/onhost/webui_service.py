"""Run a WebUI as a systemd service of Type=notify that is ready when it has drawn its first picture.

No HTTP request reaches the WebUI before it has started: webui_process opens its known port when it is ready. A picture
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
from pathlib import Path
from typing import Any

from roles.onhost import files, loopback, systemd, webui_api, webui_options, webui_picture
from roles.onhost.webui_process import ServiceError, WebuiProcess

LOOK_SECONDS = 15
"""How often to look for a checkpoint while there is none."""
GPU_TEST = "import torch; torch.zeros(1, device='cuda').add_(1).cpu()"


class Service:
    """One WebUI and what is known of it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.stopping = threading.Event()
        self.webui = WebuiProcess(options.port, options.arguments)
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
            self.prepare()
            self.webui.start()
            self.wait_for_start()
            self.prove()
            self.watch()
            self.drain()
        except ServiceError as error:
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self.tell(ready=False, problem=str(error), fault={"at": now, "reason": str(error)})
            raise
        finally:
            self.webui.end()

    def prepare(self) -> None:
        """Test the GPU, and put the fleet's options into the WebUI's config.json; ServiceError if that fails."""
        if self.options.device == "cuda":
            test_gpu()
        if self.options.options:
            try:
                webui_options.put(self.options.config, files.read_json(self.options.options))
            except OSError as error:
                raise ServiceError(f"{self.options.config} cannot be written: {error.strerror}") from error

    def on_stop(self, number: int, frame: types.FrameType | None) -> None:
        """SIGTERM: the waiting loops see it and come to an end."""
        self.stopping.set()

    def wait_for_start(self) -> None:
        """Until the log says it has started."""
        deadline = time.monotonic() + self.options.start_timeout
        while not self.webui.started.wait(0.1) and not self.stopping.is_set():
            self.webui.check("before it had started")
            if time.monotonic() > deadline:
                raise ServiceError(f"the WebUI has not started within {self.options.start_timeout} s")

    def watch(self) -> None:
        """Until SIGTERM; ServiceError if the WebUI or its proxy ends by itself."""
        while not self.stopping.wait(0.5):
            self.webui.check("while it served")

    def prove(self) -> None:
        """Draw the first picture; without a checkpoint be ready all the same and wait for one."""
        while not self.stopping.is_set():
            if self.ask("/sdapi/v1/sd-models"):
                self.draw()
                return
            self.tell(ready=True, problem="no checkpoint yet: put one into the fleet's models")
            for _ in range(LOOK_SECONDS):
                self.webui.check("while it waited for a checkpoint")
                self.stopping.wait(1)
            self.ask("/sdapi/v1/refresh-checkpoints", {})

    def draw(self) -> None:
        """One small picture; ServiceError if there is none, or all its pixels are alike."""
        try:
            picture = webui_picture.first(self.webui.port, self.options.start_timeout)
        except webui_picture.PictureError as error:
            self.webui.settle("while it drew its first picture")
            raise ServiceError(str(error)) from error
        self.tell(ready=True, picture=picture, problem="")

    def tell(self, **news: Any) -> None:
        """Write the state where status and verify read it, and tell systemd."""
        if news.get("ready") and not self.state["ready"]:
            self.webui.open_port()
        self.state.update(news)
        files.write(self.options.state, json.dumps(self.state) + "\n")
        if self.state["problem"]:
            print(f"sdfleet: {self.state['problem']}", flush=True)
        status = (
            self.state["problem"].replace("\n", " ")
            or f"drew its first picture in {self.state['picture']['seconds']} s"
        )
        systemd.notify(f"STATUS={status}" + ("\nREADY=1" if self.state["ready"] else ""))

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """JSON of one request to the WebUI's API; a POST if there is a body."""
        try:
            return webui_api.ask(self.webui.port, path, body, self.options.start_timeout)
        except loopback.AnswerError as error:
            if not error.status:
                self.webui.settle("while it answered")
            raise ServiceError(f"{path} {error}") from error

    def drain(self) -> None:
        """Take no new request, and wait until no picture is in the making, up to the limit."""
        self.webui.refuse_requests()
        deadline = time.monotonic() + self.options.drain
        with contextlib.suppress(ServiceError, KeyError, TypeError):
            while self.webui.serves() and time.monotonic() < deadline:
                if not self.ask("/sdapi/v1/progress?skip_current_image=true")["state"]["job_count"]:
                    return
                time.sleep(0.3)


def test_gpu() -> None:
    """ServiceError if torch can't compute on the GPU: drawing on the CPU instead would hide the fault."""
    done = subprocess.run([sys.executable, "-c", GPU_TEST], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ServiceError(f"torch cannot use this host's GPU: {reason}; see what nvidia-smi says of the driver")


def main() -> None:
    """Serve until the end; exit 1 with one sentence if the WebUI is not fit for service."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="loopback port at which the WebUI is known")
    parser.add_argument("--state", type=Path, required=True, help="JSON file to write the state to")
    parser.add_argument("--release", required=True, help="name of the release that runs")
    parser.add_argument("--fingerprint", required=True, help="hash of all that would need a restart if it changed")
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--start-timeout", type=int, default=600, help="s until the start counts as failed")
    parser.add_argument("--drain", type=int, default=60, help="s a picture in the making may take at the end")
    parser.add_argument("--config", type=Path, help="the WebUI's config.json")
    parser.add_argument("--options", type=Path, help="JSON file with what must stand in its config.json")
    parser.add_argument("arguments", nargs="*", help="arguments of launch.py but the port, after --")
    try:
        Service(parser.parse_args()).run()
    except ServiceError as error:
        sys.exit(f"sdfleet: {error}")
