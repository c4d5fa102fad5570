"""The WebUI's process, and the one that holds its known port until the WebUI is ready (webui_proxy).

The WebUI listens on a port of its own, since a request before it says "Startup time:" would end its start.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from roles.onhost import own_archive, webui_proxy

STARTED = b"Startup time:"
VMSTAT = Path("/proc/vmstat")


class ServiceError(Exception):
    """The WebUI is not fit for service; the text is for a person."""


class WebuiProcess:
    """Both processes: started, watched and ended together."""

    def __init__(self, known_port: int, arguments: Sequence[str]) -> None:
        """`arguments` are launch.py's without the port."""
        self.known_port, self.arguments = known_port, arguments
        self.port = free_port()
        self.started = threading.Event()
        """Set when the WebUI's log says that it has started."""
        self.child: subprocess.Popen[bytes] | None = None
        self.proxy: subprocess.Popen[bytes] | None = None
        self.oom_kills = oom_kills()
        self.resident_gb = 0.0

    def start(self) -> None:
        """Start the WebUI, and take its known port without opening it."""
        ports = ["--port", str(self.known_port), "--inner", str(self.port)]
        pipe = subprocess.PIPE
        proxy = [sys.executable, "-I", *own_archive.words(webui_proxy.__name__), *ports]
        self.proxy = subprocess.Popen(proxy, stdin=pipe, stdout=pipe, bufsize=0, pass_fds=own_archive.descriptors())
        command = [sys.executable, "launch.py", "--port", str(self.port), *self.arguments]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        threading.Thread(target=self._pass_on_output, daemon=True).start()

    def _pass_on_output(self) -> None:
        """Copy the WebUI's output to the journal and watch for the line that says it has started."""
        assert self.child is not None and self.child.stdout is not None
        for line in self.child.stdout:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            if STARTED in line:
                self.started.set()

    def check(self, when: str) -> None:
        """ServiceError if the WebUI or its proxy has ended."""
        assert self.child is not None and self.proxy is not None
        if self.proxy.poll() is not None:
            raise ServiceError(f"port {self.known_port} could not be opened: see the line above")
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

    def settle(self, when: str) -> None:
        """Give a WebUI that is coming to its end the time to do so; ServiceError if it has ended."""
        assert self.child is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(2)
        self.check(when)

    def serves(self) -> bool:
        """Whether it has started and still runs."""
        return self.started.is_set() and self.child is not None and self.child.poll() is None

    def open_port(self) -> None:
        """Open the known port; when this returns it takes connections. ServiceError if the proxy has ended."""
        assert self.proxy is not None and self.proxy.stdin is not None and self.proxy.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.proxy.stdin.write(b"open\n")
        if not self.proxy.stdout.readline():
            self.proxy.wait()
            self.check("when it was ready")

    def refuse_requests(self) -> None:
        """Take no new request; those that are being answered go on."""
        assert self.proxy is not None
        self.proxy.terminate()

    def end(self) -> None:
        """End the WebUI, in the end by force, and close its proxy."""
        if self.child is not None and self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        if self.proxy is not None and self.proxy.stdin:
            self.proxy.stdin.close()
            self.proxy.wait()


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
