"""Run a WebUI as a systemd service of Type=notify that is ready when it has drawn its first picture.

No HTTP request reaches the WebUI before it has said "Startup time:", because an earlier one ends its start: it listens
on a port of its own, and webui_door opens the known one when it is ready. A picture counts because everything else
answers even when no model could be loaded. Without a checkpoint the service is ready too, says so, and draws as soon as
one appears. On SIGTERM no new request is taken, and a picture in the making is finished, up to a limit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

from roles.onhost import files, itself, loopback, systemd, webui_api, webui_door, webui_options, webui_picture

STARTED = b"Startup time:"
LOOK_SECONDS = 15
"""How often to look for a checkpoint while there is none."""
VMSTAT = Path("/proc/vmstat")
GPU_TEST = "import torch; torch.zeros(1, device='cuda').add_(1).cpu()"


class ServiceError(Exception):
    """The WebUI is not fit for service; the text is for a person."""


class Service:
    """One WebUI process and what is known of it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.started = threading.Event()
        self.stopping = threading.Event()
        self.child: subprocess.Popen[bytes] | None = None
        self.door: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.oom_kills = oom_kills()
        self.resident_gb = 0.0
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
            self.launch()
            self.wait_for_start()
            self.prove()
            self.watch()
            self.drain()
        except ServiceError as error:
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self.tell(ready=False, problem=str(error), fault={"at": now, "reason": str(error)})
            raise
        finally:
            self.end()

    def launch(self) -> None:
        """Start the WebUI, and take its known port without opening it."""
        if self.options.device == "cuda":
            test_gpu()
        if self.options.options:
            try:
                webui_options.put(self.options.config, files.read_json(self.options.options))
            except OSError as error:
                raise ServiceError(f"{self.options.config} cannot be written: {error.strerror}") from error
        ports = ["--port", str(self.options.port), "--inner", str(self.port)]
        pipe = subprocess.PIPE
        door = [sys.executable, "-I", *itself.words(webui_door.__name__), *ports]
        self.door = subprocess.Popen(door, stdin=pipe, stdout=pipe, bufsize=0, pass_fds=itself.descriptors())
        command = [sys.executable, "launch.py", "--port", str(self.port), *self.options.arguments]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        threading.Thread(target=self.pass_on_output, daemon=True).start()

    def on_stop(self, number: int, frame: types.FrameType | None) -> None:
        """SIGTERM: the waiting loops see it and come to an end."""
        self.stopping.set()

    def pass_on_output(self) -> None:
        """Copy the WebUI's output to the journal and watch for the line that says it has started."""
        assert self.child is not None and self.child.stdout is not None
        for line in self.child.stdout:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            if STARTED in line:
                self.started.set()

    def wait_for_start(self) -> None:
        """Until the log says it has started."""
        assert self.child is not None
        deadline = time.monotonic() + self.options.start_timeout
        while not self.started.wait(0.1) and not self.stopping.is_set():
            self.check("before it had started")
            if time.monotonic() > deadline:
                raise ServiceError(f"the WebUI has not started within {self.options.start_timeout} s")

    def check(self, when: str) -> None:
        """ServiceError if the WebUI or its door has ended."""
        assert self.child is not None and self.door is not None
        if self.door.poll() is not None:
            raise ServiceError(f"port {self.options.port} could not be opened: see the line above")
        if self.child.poll() is None:
            self.resident_gb = max(self.resident_gb, resident_gb(self.child.pid))
            return
        time.sleep(0.2)  # the last lines of the log are still on their way
        status = self.child.returncode
        if status == -signal.SIGKILL and oom_kills() > self.oom_kills:
            raise ServiceError(
                f"the WebUI was killed by the OOM killer {when}: the host ran out of memory; "
                f"it held up to {self.resident_gb:.1f} GB"
            )
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        raise ServiceError(f"the WebUI {how} {when}")

    def watch(self) -> None:
        """Until SIGTERM; ServiceError if the WebUI or its door ends by itself."""
        while not self.stopping.wait(0.5):
            self.check("while it served")

    def prove(self) -> None:
        """Draw the first picture; without a checkpoint be ready all the same and wait for one."""
        while not self.stopping.is_set():
            if self.ask("/sdapi/v1/sd-models"):
                self.draw()
                return
            self.tell(ready=True, problem="no checkpoint yet: put one into the fleet's models")
            for _ in range(LOOK_SECONDS):
                self.check("while it waited for a checkpoint")
                self.stopping.wait(1)
            self.ask("/sdapi/v1/refresh-checkpoints", {})

    def draw(self) -> None:
        """One small picture; ServiceError if there is none, or all its pixels are alike."""
        try:
            picture = webui_picture.first(self.port, self.options.start_timeout)
        except webui_picture.PictureError as error:
            self.settle()
            self.check("while it drew its first picture")
            raise ServiceError(str(error)) from error
        self.tell(ready=True, picture=picture, problem="")

    def settle(self) -> None:
        """Give a WebUI that is coming to its end the time to do so."""
        assert self.child is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(2)

    def tell(self, **news: Any) -> None:
        """Write the state where status and verify read it, and tell systemd."""
        if news.get("ready") and not self.state["ready"]:
            self.open_door()
        self.state.update(news)
        files.write(self.options.state, json.dumps(self.state) + "\n")
        if self.state["problem"]:
            print(f"sdfleet: {self.state['problem']}", flush=True)
        status = (
            self.state["problem"].replace("\n", " ")
            or f"drew its first picture in {self.state['picture']['seconds']} s"
        )
        systemd.notify(f"STATUS={status}" + ("\nREADY=1" if self.state["ready"] else ""))

    def open_door(self) -> None:
        """Open the known port; when this returns it takes connections. ServiceError if the door has ended."""
        assert self.door is not None and self.door.stdin is not None and self.door.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.door.stdin.write(b"open\n")
        if not self.door.stdout.readline():
            self.door.wait()
            self.check("when it was ready")

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """JSON of one request to the WebUI's API; a POST if there is a body."""
        try:
            return webui_api.ask(self.port, path, body, self.options.start_timeout)
        except loopback.AnswerError as error:
            if not error.status:
                self.settle()
                self.check("while it answered")
            raise ServiceError(f"{path} {error}") from error

    def drain(self) -> None:
        """Take no new request, and wait until no picture is in the making, up to the limit."""
        assert self.child is not None and self.door is not None
        self.door.terminate()
        deadline = time.monotonic() + self.options.drain
        with contextlib.suppress(ServiceError, KeyError, TypeError):
            while self.started.is_set() and self.child.poll() is None and time.monotonic() < deadline:
                if not self.ask("/sdapi/v1/progress?skip_current_image=true")["state"]["job_count"]:
                    return
                time.sleep(0.3)

    def end(self) -> None:
        """End the WebUI, in the end by force, and close its door."""
        if self.child is not None and self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        if self.door is not None and self.door.stdin:
            self.door.stdin.close()
            self.door.wait()


def free_port() -> int:
    """A loopback port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory since it booted."""
    found = re.search(r"^oom_kill (\d+)$", VMSTAT.read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def resident_gb(pid: int) -> float:
    """Memory that a process holds, in GB; 0 if it has just ended."""
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9
    return 0.0


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
