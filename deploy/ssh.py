"""Commands, programs and files on hosts, all through the system's OpenSSH client."""

import inspect
import json
import re
import shlex
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import IO, Any, TypeVar

from inventory.errors import SdfleetError
from inventory.hosts import hop_options, trust
from inventory.model import Connection, HostSettings
from roles.onhost import journal, whole

CONNECT_SECONDS = 10
ALIVE_SECONDS = 15
"""After three of these without a sign of life a connection counts as lost."""
PARALLEL = 32
"""Hosts talked to at once: each costs the controller one ssh process."""

NO_SUDO = "sudo: a password is required"

T = TypeVar("T")


class HostError(SdfleetError):
    """Something failed on one host; `unreachable` tells transport faults from faults of the command."""

    def __init__(self, message: str, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable


def needs_sudo(user: str) -> str:
    """What to tell whose login may not do what root does."""
    return f"{user} needs sudo without a password (NOPASSWD in /etc/sudoers.d)"


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    status: int
    out: str
    err: str


def ssh_config(hosts: Iterable[HostSettings], folder: Path) -> str:
    """OpenSSH's client configuration for `hosts`; sockets of shared connections go into `folder`."""
    stanzas: list[str] = []
    for host in hosts:
        connection = host.connection
        if connection.local:
            continue
        lines = [f"HostName {_word(connection.address)}", f"Port {connection.port}", f"User {_word(connection.user)}"]
        hops = {f"sdfleet-hop-{number}-{host.name}": hop for number, hop in enumerate(connection.hops, 1)}
        if hops:
            lines.append(f"ProxyJump {','.join(hops)}")
        stanzas.append(_stanza(host.name, [*lines, *_trust(connection)]))
        for name, hop in hops.items():
            stanzas.append(_stanza(name, [*hop_options(hop), *_trust(connection)]))
    shared = [
        "BatchMode yes",
        f"ConnectTimeout {CONNECT_SECONDS}",
        f"ServerAliveInterval {ALIVE_SECONDS}",
        "ServerAliveCountMax 3",
        "ControlMaster auto",
        f"ControlPath {_path(folder)}/%C",
        "ControlPersist 60",
        "LogLevel ERROR",
    ]
    return "\n".join([*stanzas, _stanza("*", shared)])


def _stanza(name: str, lines: Iterable[str]) -> str:
    return "\n  ".join([f"Host {_word(name)}", *lines]) + "\n"


def _trust(connection: Connection) -> list[str]:
    options = trust(connection).items()
    return [f"{option} {_path(value) if isinstance(value, Path) else value}" for option, value in options]


def _word(value: str) -> str:
    if not re.fullmatch(r"[^\s\"'\\#-][^\s\"'\\#]*", value):
        raise SdfleetError(f"{value!r} can't stand in an SSH configuration: no spaces, quotes or leading dash, please")
    return value


def _path(path: Path) -> str:
    text = str(path.expanduser().absolute())
    if '"' in text or "\n" in text:
        raise SdfleetError(f"{text!r}: OpenSSH can't use a path with quotes or line breaks; move the file")
    return '"' + text.replace("%", "%%") + '"'


class Remote:
    """One host, ready for commands. Root does them: by login, or through sudo without a password."""

    def __init__(self, host: HostSettings, config: Path) -> None:
        self.host, self.name, self.config = host, host.name, config
        self._ssh = [] if host.connection.local else ["ssh", "-F", str(config), host.name]

    def argv(self, command: Sequence[str]) -> list[str]:
        """What to start on the controller so that `command` (program and arguments) runs on the host."""
        if not self._ssh:
            return list(command)
        return [*self._ssh, shlex.join(["sudo", "-n", "--", *command] if self.host.connection.sudo else command)]

    def run(self, command: Sequence[str], *, input: bytes = b"", timeout: float = 60, check: bool = True) -> Answer:
        """Run `command` for at most `timeout` seconds.

        Raises HostError if the host can't be reached, the time is over, or (with `check`) the status is not 0.
        """
        try:
            done = subprocess.run(self.argv(command), input=input, capture_output=True, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            what = f"{self.name}: `{_short(command)}` gave no answer within {timeout:g} s"
            raise HostError(what, unreachable=True) from error
        answer = Answer(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
        self.judge(answer, command, check=check)
        return answer

    def call(self, module: ModuleType, *, timeout: float = 60, under: Sequence[str] = (), **values: object) -> Any:
        """What `module.main(**values)` returns on the host; values and answer travel as JSON.

        The module may import the standard library, and roles.onhost's nofollow and journal. Its text and the values
        go over standard input: neither shows in the host's process list. `under` is what the program is run by.
        """
        call = f"json.dumps(main(**json.loads({json.dumps(values)!r})))"
        text = f"{whole(inspect.getsource(module))}\nimport json\nprint({call})\n"
        answer = self.run([*under, "python3", "-I", "-"], input=text.encode(), timeout=timeout)
        try:
            return json.loads(answer.out)
        except ValueError as error:
            raise HostError(f"{self.name}: expected JSON, got {answer.out[:200]!r}") from error

    def push(self, files: Mapping[PurePosixPath, Path | bytes], *, timeout: float = 600) -> None:
        """Write `files` (path on the host -> file here, or its bytes): mode 0644, owner root, parents made."""
        command = ["tar", "--extract", "--file=-", "--directory=/", "--no-same-owner", "--no-overwrite-dir"]
        with subprocess.Popen(
            self.argv(command), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            assert process.stdin and process.stderr
            try:
                _write_tar(process.stdin, files)
                _, err = process.communicate(timeout=timeout)
            except BrokenPipeError:
                err = process.stderr.read()
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise HostError(f"{self.name}: sending files took longer than {timeout:g} s") from error
        self.judge(Answer(process.returncode, "", err.decode(errors="replace")), command)

    def judge(self, answer: Answer, command: Sequence[str], *, check: bool = True) -> None:
        """Raise the HostError that `answer` deserves, if any."""
        if self._ssh and answer.status == 255:
            raise HostError(_diagnose(self.host, answer.err), unreachable=True)
        if NO_SUDO in answer.err:
            user = self.host.connection.user
            raise HostError(f"{self.name}: {needs_sudo(user)}")
        if check and answer.status:
            lines = (answer.err.strip() or answer.out.strip() or "it printed nothing").splitlines()
            # tar and others end with a line that says only that there was an error.
            worst = [text for kind, text in journal.errors(lines) if kind in ("disk", "memory")]
            said = worst[0] if worst else lines[-1]
            raise HostError(f"{self.name}: `{_short(command)}` failed with status {answer.status}: {said}")


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
    text = shlex.join(command).replace("\n", " ")
    return text if len(text) <= 80 else text[:77] + "..."


def _diagnose(host: HostSettings, said: str) -> str:
    """ssh's complaint as a sentence with the cure."""
    at = host.connection
    where = f"{host.name} ({at.user}@{at.address}:{at.port})"
    known = at.known_hosts or "~/.ssh/known_hosts"
    if "IDENTIFICATION HAS CHANGED" in said or "differs from the key" in said:
        return (
            f"{where}: its host key is not the one in {known}, so it may be another machine; if you reinstalled it, "
            f"put its new key there (`ssh-keygen -R` drops the old one)"
        )
    if "host key is known for" in said or "Host key verification failed" in said:
        return f"{where}: its host key is not in {known}; compare it with `ssh-keyscan -p {at.port} {at.address}`"
    if "Permission denied" in said or "Too many authentication failures" in said:
        key = f"the key {at.key}" if at.key else "none of your keys (set key in fleet.toml)"
        return f"{where}: login refused; {key} is not accepted for {at.user}: try `ssh-copy-id`"
    last = (said.strip() or "the connection was lost").splitlines()[-1].rstrip(".\r")
    return f"{where}: cannot be reached: {last}; check address, port, firewall, and that the host is up"


@contextmanager
def connect(hosts: Iterable[HostSettings]) -> Iterator[dict[str, Remote]]:
    """Remotes by host name; connections open on first use, are shared, and close at the end."""
    hosts = list(hosts)
    # Unix socket names end at 104 bytes: a long TMPDIR would break ControlPath.
    short = "/tmp" if Path("/tmp").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="sdfleet-", dir=short) as folder:
        config = Path(folder) / "config"
        config.write_text(ssh_config(hosts, Path(folder)))
        try:
            yield {host.name: Remote(host, config) for host in hosts}
        finally:
            for socket in Path(folder).iterdir():
                if socket.is_socket():
                    stop = ["ssh", "-F", "none", "-o", f"ControlPath={socket}", "-O", "exit", "any"]
                    subprocess.run(stop, capture_output=True, timeout=10)


def each(remotes: Mapping[str, Remote], work: Callable[[Remote], T]) -> dict[str, T | HostError]:
    """`work` on every host at once; what it returned, or the HostError it raised, by host name in their order.

    An answer of another shape than `work` expects, of a host that is damaged or hostile, is that host's error too.
    """

    def attempt(remote: Remote) -> T | HostError:
        try:
            return work(remote)
        except HostError as error:
            return error
        except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
            return HostError(
                f"{remote.name}: what it answers, or a file of its state, is not of the shape that was expected "
                f"({type(error).__name__}: {error})"
            )

    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        return dict(zip(remotes, pool.map(attempt, remotes.values()), strict=True))
