"""The process of a service that draws, and the one that holds its known port until it is ready (port_gate)."""

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
from collections.abc import Callable, Sequence
from pathlib import Path

from roles.onhost import own_archive, port_gate

VMSTAT = Path("/proc/vmstat")


class ServiceError(Exception):
    """It is not fit for service; the text is for a person."""


class ServedProcess:
    """Both processes: started, watched and ended together."""

    def __init__(self, name: str, known_port: int, command: Callable[[int], Sequence[str]], mark: bytes) -> None:
        """
        + name: what messages call it
        + command: starts it, given the port to listen on
        + mark: in the line of its output that says that it has started
        """
        self.name, self.known_port, self.command, self.mark = name, known_port, command, mark
        self.port = free_port()
        self.started = threading.Event()
        """Set when its log says that it has started."""
        self.child: subprocess.Popen[bytes] | None = None
        self.gate: subprocess.Popen[bytes] | None = None
        self.oom_kills = oom_kills()
        self.resident_gb = 0.0

    def start(self) -> None:
        """Start it, and take its known port without opening it."""
        ports = ["--port", str(self.known_port), "--inner", str(self.port)]
        pipe = subprocess.PIPE
        gate = [sys.executable, "-I", *own_archive.words(port_gate.__name__), *ports]
        self.gate = subprocess.Popen(gate, stdin=pipe, stdout=pipe, bufsize=0, pass_fds=own_archive.descriptors())
        self.child = subprocess.Popen(self.command(self.port), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        threading.Thread(target=self._pass_on_output, daemon=True).start()

    def _pass_on_output(self) -> None:
        """Copy its output to the journal and watch for the line that says it has started."""
        assert self.child is not None and self.child.stdout is not None
        for line in self.child.stdout:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            if self.mark in line:
                self.started.set()

    def check(self, when: str) -> None:
        """ServiceError if it or the program at its port has ended."""
        assert self.child is not None and self.gate is not None
        if self.gate.poll() is not None:
            raise ServiceError(f"port {self.known_port} could not be opened: see the line above")
        if self.child.poll() is None:
            self.resident_gb = max(self.resident_gb, resident_gb(self.child.pid))
            return
        time.sleep(0.2)  # the last lines of the log are still on their way
        status = self.child.returncode
        if status == -signal.SIGKILL and oom_kills() > self.oom_kills:
            raise ServiceError(
                f"{self.name} was killed by the OOM killer {when}: the host ran out of memory; "
                f"it held up to {self.resident_gb:.1f} GB"
            )
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        raise ServiceError(f"{self.name} {how} {when}")

    def settle(self, when: str) -> None:
        """Give one that is coming to its end the time to do so; ServiceError if it has ended."""
        assert self.child is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(2)
        self.check(when)

    def serves(self) -> bool:
        """Whether it has started and still runs."""
        return self.started.is_set() and self.child is not None and self.child.poll() is None

    def open_port(self) -> None:
        """Open the known port; when this returns it takes connections. ServiceError if its program has ended."""
        assert self.gate is not None and self.gate.stdin is not None and self.gate.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.gate.stdin.write(b"open\n")
        if not self.gate.stdout.readline():
            self.gate.wait()
            self.check("when it was ready")

    def refuse_requests(self) -> None:
        """Take no new request; those that are being answered go on."""
        assert self.gate is not None
        self.gate.terminate()

    def end(self) -> None:
        """End it, in the end by force, and close its port."""
        if self.child is not None and self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        if self.gate is not None and self.gate.stdin:
            self.gate.stdin.close()
            self.gate.wait()


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
