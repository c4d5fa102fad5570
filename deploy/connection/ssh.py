"""Run commands and programs on hosts and send files, through the system's OpenSSH client."""

import contextlib
import json
import os
import shlex
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import IO, Any

from deploy.connection import askpass, refusals
from deploy.connection.exchange import TooMuchError, exchange, short
from deploy.connection.ssh_config import CONNECT_SECONDS
from inventory.errors import SdfleetError
from inventory.model import HostSettings
from roles.onhost import journal
from roles.programs import called, receiver, sent
from roles.said import say

LARGEST_ANSWER = 512_000_000
"""Bytes of an answer that are kept; the largest is a run's log of 64 MB as JSON."""
LOST = 255
"""Exit status of ssh if the connection failed."""


class HostError(SdfleetError):
    """Something failed on one host.

    + says: what failed
    + host: its name, which the message begins with; empty if `says` names the host, or several
    + cure: what to do about it, if known
    + unreachable: whether the transport failed, not the command
    """

    def __init__(self, says: str, *, host: str = "", unreachable: bool = False, cure: str = "") -> None:
        self.says, self.host, self.cure, self.unreachable = says, host, cure, unreachable
        super().__init__(f"{host}: {self.reason}" if host else self.reason)

    @property
    def reason(self) -> str:
        """The message for a place that names the host itself."""
        return f"{self.says}; {self.cure}" if self.cure else self.says


@dataclass(frozen=True)
class Answer:
    """Exit status and output of a command."""

    status: int
    out: str
    err: str


class Remote:
    """Runs commands on one host as root, by login or through sudo."""

    def __init__(self, host: HostSettings, config: Path) -> None:
        self.host, self.name, self.config = host, host.name, config
        self._lent: askpass.Lent | None = None
        self._place = askpass.folder()
        self.answered = 0.0
        """When it last answered, in s since the epoch."""
        self.unconfirmed = False
        """Whether a change of an earlier controller waited for its confirmation when the host's lock was taken."""
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ssh = [] if host.connection.local else ["ssh", "-F", str(config), host.name]

    def argv(self, command: Sequence[str]) -> list[str]:
        """The local command line that runs `command` (program and arguments) on the host."""
        if not self._ssh:
            return list(command)
        return [*self._ssh, shlex.join([*askpass.sudo(self.host.connection, self.askpass()), *command])]

    def login(self, line: str, terminal: bool = False) -> list[str]:
        """The local command line that runs a command line of a shell as the host's SSH user.

        + terminal: whether it gets this terminal
        """
        if not self._ssh:
            return ["sh", "-c", line]
        return [*self._ssh, *(["-t"] if terminal else []), line]

    def login_shell(self) -> list[str]:
        """The local command line of a shell there."""
        return self._ssh or [os.environ.get("SHELL", "/bin/sh")]

    def reach(self) -> None:
        """Open the connection. Raises HostError if the host cannot be reached."""
        if self._ssh:
            self.judge(self._run(self.login("true"), "logging in"), ["true"])

    def askpass(self) -> PurePosixPath | None:
        """The SUDO_ASKPASS program on the host, installed on the first call; None if sudo needs no password.

        Raises SdfleetError if the password cannot be read, HostError if sudo refuses it.
        """
        connection = self.host.connection
        if not connection.sudo or connection.sudo_password is None:
            return None
        if self._lent is None:
            password = connection.sudo_password.read(self.host.place("sudo_password"))
            words = askpass.command(self._place)
            self._lent = askpass.Lent(self._ssh, [shlex.join(words)], password)
            if self._lent.answer != askpass.READY:
                self._refuse_password(words)
        return askpass.program(self._place)

    def _refuse_password(self, words: Sequence[str]) -> None:
        assert self._lent
        refused = self._lent.answer == askpass.REFUSED
        status, said = self._lent.end()
        self._lent = None
        if refused and "askpass" not in said:
            raise HostError(refusals.wrong_password(self.host), host=self.name)
        self.judge(Answer(status or 1, "", said), words)

    @contextlib.contextmanager
    def running(self, process: subprocess.Popen[bytes]) -> Iterator[None]:
        """Let `kill` end a process; an exception within ends it too."""
        self._running.add(process)
        try:
            yield
        except BaseException:
            process.kill()
            raise
        finally:
            self._running.discard(process)

    def kill(self) -> None:
        """End the ssh processes with which other threads wait for the host."""
        for process in list(self._running):
            process.kill()

    def close(self) -> None:
        """Delete sudo's password from the host."""
        if self._lent:
            self._lent.end()
            self._lent = None

    def run(
        self, command: Sequence[str], *, input: bytes = b"", timeout: float = 60, check: bool = True, label: str = ""
    ) -> Answer:
        """Run `command` for at most `timeout` seconds.

        + label: names the command in errors; if empty, its words do
        Raises HostError if the host cannot be reached, on a timeout, or (with `check`) if the status is not 0.
        """
        answer = self._run(self.argv(command), label or _short(command), input, timeout)
        self.judge(answer, command, check=check, label=label)
        return answer

    def _run(self, words: Sequence[str], label: str, input: bytes = b"", timeout: float = 60) -> Answer:
        try:
            status, said, complaint = exchange(words, input, timeout, LARGEST_ANSWER, running=self._running)
        except subprocess.TimeoutExpired as error:
            says = say("{command} gave no answer within {seconds:g} s", command=label, seconds=timeout)
            raise HostError(says, host=self.name, unreachable=True) from error
        except TooMuchError as error:
            most = LARGEST_ANSWER // 10**6
            raise HostError(f"the answer to {label} has more than {most} MB", host=self.name) from error
        return Answer(status, said.decode(errors="replace"), complaint.decode(errors="replace"))

    def call(
        self, module: ModuleType, *, timeout: float = 60, under: Sequence[str] = (), label: str = "", **values: object
    ) -> Any:
        """What `module.main(**values)` returns on the host; values and answer travel as JSON.

        The module may import the standard library and modules of roles.onhost and deploy.onhost. They and the values
        go over standard input, so that neither shows in the host's process list. `under` is a command prefix.

        + label: names the call in errors; if empty, the module's name does
        """
        text, label = called(module.__name__, json.dumps(values)), label or f"`{module.__name__.rpartition('.')[2]}`"
        answer = self.run([*under, *receiver()], input=text.encode(), timeout=timeout, label=label)
        try:
            return json.loads(answer.out)
        except ValueError as error:
            raise HostError(f"expected JSON, got {answer.out[:200]!r}", host=self.name) from error

    def start(
        self, program: str, *words: object, timeout: float = 60, under: Sequence[str] = (), check: bool = True
    ) -> Answer:
        """Run a program of roles.onhost, whichever version is installed there; other arguments as for `run`."""
        command, text = [*under, *receiver(*words)], sent(program).encode()
        return self.run(command, input=text, timeout=timeout, check=check, label=f"`{program}`")

    def stream(
        self,
        command: Sequence[str],
        input: bytes,
        into: IO[bytes],
        most: int,
        label: str = "",
        timeout: float | None = None,
    ) -> None:
        """Run `command` and write the first `most` bytes of its output into a file.

        + timeout: in s; None for as long as it takes
        Raises HostError, also if it sends more.
        """
        try:
            status, _, complaint = exchange(self.argv(command), input, timeout, most, into, self._running)
        except subprocess.TimeoutExpired as error:
            what = f"{label or _short(command)} did not end within {timeout:g} s"
            raise HostError(what, host=self.name, unreachable=True) from error
        except TooMuchError as error:
            what = f"{label or _short(command)} sends more than the {most} bytes it promised"
            raise HostError(what, host=self.name) from error
        self.judge(Answer(status, "", complaint.decode(errors="replace")), command, label=label)

    def push(self, files: Mapping[PurePosixPath, Path | bytes], *, timeout: float = 600) -> None:
        """Write `files` (path on the host -> local file, or its bytes): mode 0644, owner root, with parent folders."""
        command = ["tar", "--extract", "--file=-", "--directory=/", "--no-same-owner", "--no-overwrite-dir"]
        with (
            subprocess.Popen(
                self.argv(command), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            ) as process,
            self.running(process),
        ):
            assert process.stdin and process.stderr
            try:
                _write_tar(process.stdin, files)
                _, err = process.communicate(timeout=timeout)
            except BrokenPipeError:
                err = process.stderr.read()
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise HostError(f"sending files took longer than {timeout:g} s", host=self.name) from error
        self.judge(Answer(process.returncode, "", err.decode(errors="replace")), command)

    def judge(self, answer: Answer, command: Sequence[str], *, check: bool = True, label: str = "") -> None:
        """Raise a HostError if `answer` is a failure; `label` as for `run`."""
        if self._ssh and answer.status == LOST:
            says, cure = refusals.of_ssh(self.host, self._complaint(answer.err))
            raise HostError(says, cure=cure, unreachable=True)
        self.answered = time.time()
        if refusals.NO_SUDO in answer.err:
            raise HostError(refusals.needs_sudo(self.host), host=self.name)
        if check and answer.status:
            lines = (answer.err.strip() or answer.out.strip() or "it printed nothing").splitlines()
            # The last line of tar and others says only that there was an error.
            said = journal.cause(lines) or lines[-1]
            raise HostError(f"{label or _short(command)} failed with status {answer.status}: {said}", host=self.name)

    def _complaint(self, said: str) -> str:
        """Why ssh did not connect: `said`, or with jump hosts the output without connection sharing, which hides it."""
        if not self.host.connection.hops:
            return said
        alone = ["-o", "ControlMaster=no", "-o", "ControlPath=none"]
        command = ["ssh", "-F", str(self.config), *alone, self.name, "true"]
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=3 * CONNECT_SECONDS)
            return done.stderr.decode(errors="replace") or said
        return said


def _write_tar(stream: IO[bytes], files: Mapping[PurePosixPath, Path | bytes]) -> None:
    now = int(time.time())
    with tarfile.open(fileobj=stream, mode="w|") as tar:
        for target, source in files.items():
            entry = tarfile.TarInfo(str(target).lstrip("/"))
            entry.mode, entry.mtime = 0o644, now
            entry.size = len(source) if isinstance(source, bytes) else source.stat().st_size
            with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as content:
                tar.addfile(entry, content)


def _short(command: Sequence[str]) -> str:
    return short(shlex.join(command))
