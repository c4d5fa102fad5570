"""One program of a service: what it writes goes to the log, what it tells of itself is kept."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from roles.onhost.unit_log import UnitLog

BLOCK = 65536
ENDED_SECONDS = 1.0
"""How long the rest of a program's output is waited for when it has ended: a child of it may keep the pipe open."""


class Process:
    """A program that was started."""

    _statuses: dict[int, int] = {}  # noqa: RUF012 - of the whole runner: whoever waits reaps all children
    """Status of each program that has ended."""
    _known: set[int] = set()  # noqa: RUF012
    """Programs that have not ended; other children are orphans, whose numbers are given out again."""

    def __init__(
        self,
        words: Sequence[str],
        environment: dict[str, str],
        folder: str,
        confine: Callable[[], None],
        log: UnitLog,
        ready: str,
        notify: Path | None,
        user: str,
    ) -> None:
        """Start it. Raises OSError.

        + ready: started, notifies or forks (it stays in the foreground here: then it is ready when it runs)
        + notify: where its socket for sd_notify(3) is made
        """
        self.log, self.text = log, ""
        self.ready = ready != "notifies"
        self.status: int | None = None
        self.notices = _notices(notify, user) if notify else None
        if notify:
            environment = {**environment, "NOTIFY_SOCKET": str(notify)}
        child = subprocess.Popen(
            list(words),
            env=environment,
            cwd=folder,
            preexec_fn=confine,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        child.returncode = 0  # this class waits for it
        self.pid = child.pid
        self._known.add(self.pid)
        self._statuses.pop(self.pid, None)
        assert child.stdout is not None
        self.output = child.stdout
        os.set_blocking(self.output.fileno(), False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.output, selectors.EVENT_READ)
        if self.notices:
            self.selector.register(self.notices, selectors.EVENT_READ)

    def signal(self, number: int) -> None:
        """Send a signal to the program alone."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, seconds: float | None) -> int | None:
        """Its status if it ends within that time (None: however long), as `Popen.returncode`; else None."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while self.status is None:
            self._reap()
            if self.status is not None:
                break
            left = 0.2 if deadline is None else deadline - time.monotonic()
            self._read(max(min(left, 0.2), 0))
            if deadline is not None and time.monotonic() >= deadline:
                self._reap()
                break
        if self.status is not None and not self.output.closed:
            self._finish()
        return self.status

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                if pid in self._known:
                    self._known.discard(pid)
                    self._statuses[pid] = os.waitstatus_to_exitcode(status)
        self.status = self._statuses.pop(self.pid, self.status)

    def _read(self, seconds: float) -> None:
        for key, _ in self.selector.select(seconds):
            if key.fileobj is self.notices:
                self._hear()
            elif block := self.output.read(BLOCK):
                self.log.take(block)
            else:
                self.selector.unregister(self.output)
        if not self.selector.get_map():
            time.sleep(seconds)

    def _hear(self) -> None:
        assert self.notices
        message, extra, _, _ = self.notices.recvmsg(4096, socket.CMSG_SPACE(12))
        senders = [struct.unpack("3i", data)[0] for _, kind, data in extra if kind == socket.SCM_CREDENTIALS]
        if senders != [self.pid]:  # NotifyAccess=main
            return
        for line in message.decode(errors="replace").splitlines():
            name, _, value = line.partition("=")
            if name == "READY" and value == "1":
                self.ready = True
            elif name == "STATUS":
                self.text = value[:1000]

    def _finish(self) -> None:
        deadline = time.monotonic() + ENDED_SECONDS
        while time.monotonic() < deadline and (block := self.output.read(BLOCK)) != b"":
            if block is None:
                time.sleep(0.02)
            else:
                self.log.take(block)
        self.log.flush()
        self.output.close()
        self.selector.close()
        if self.notices:
            self.notices.close()


def _notices(place: Path, user: str) -> socket.socket:
    """The socket at which a program of `user` tells of itself."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        place.unlink()
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    channel.bind(str(place))
    place.chmod(0o600)
    shutil.chown(place, user)
    return channel
