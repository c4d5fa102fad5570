"""How the engine reaches a host: pyinfra's SSH connector, prompt, watchful, and able to ask ahead."""

import base64
import contextlib
import secrets
import socket
from itertools import zip_longest
from pathlib import Path
from typing import Any, cast

import gevent
from paramiko import (
    AuthenticationException,
    BadHostKeyException,
    Channel,
    MissingHostKeyPolicy,
    PKey,
    SSHClient,
    SSHException,
    Transport,
)
from paramiko.agent import AgentSSH
from paramiko.hostkeys import HostKeyEntry
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.ssh_util import load_key_with_certificate
from pyinfra.connectors.util import CommandOutput

from deploy import refusals
from deploy.keys import OpenedKey
from deploy.questions import Memory, answers, script
from inventory.model import HostSettings, Login

GLOBAL_KNOWN_HOSTS = (Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2"))
ASK_SECONDS = 15
"""How often a connected host is asked for a sign of life."""
PATIENCE_SECONDS = 45
"""How long it may stay silent; then its connection is closed, and the operation that waits for it fails."""

Answer = tuple[bool, CommandOutput]
"""What a connector returns: whether the command succeeded, and what it printed."""


class HostConnector(SSHConnector):
    """One host over SSH, reached as its `settings` say.

    Of its data, `keys` are opened keys (keys.OpenedKey), and `memory` (questions.Memory) says what to ask ahead.
    """

    def __init__(self, state: Any, host: Host) -> None:
        super().__init__(state, host)
        self.settings: HostSettings = host.data.settings
        self._clients: list[SSHClient] = []
        self.round_trips = 0
        """Commands and uploads so far, each of which waits for the network once or more."""
        self._ahead = _Ahead(host.data.get("memory"))

    def connect(self) -> None:
        super().connect()
        gevent.spawn(_watch, self._transport())

    def _connect(self) -> None:
        """Log in, over the jump hosts if there are any. Raises ConnectError."""
        sock: Channel | None = None
        for login, following in zip_longest(self.settings.connection.logins, self.settings.connection.logins[1:]):
            client = self._logged_in(login, sock)
            self._clients.append(client)
            if following:
                sock = self._passage(client, following)
        self.client = cast(Any, client)

    def _logged_in(self, login: Login, sock: Channel | None) -> SSHClient:
        client = SSHClient()
        for file in () if login.known_hosts else GLOBAL_KNOWN_HOSTS:
            _load_host_keys(client, file)
        _load_host_keys(client, refusals.known_hosts(login))
        client.set_missing_host_key_policy(_Refuse() if login.known_hosts else _KeepNew(refusals.known_hosts(login)))
        try:
            client.connect(
                login.address,
                login.port,
                login.user,
                sock=cast(Any, sock),
                timeout=self.state.config.CONNECT_TIMEOUT,
                transport_factory=cast(Any, _prompt_transport),
                **self._identity(login),
            )
        except BadHostKeyException as error:
            raise ConnectError(str(refusals.changed_key(self.settings, login))) from error
        except _Unknown as error:
            raise ConnectError(str(refusals.unknown_key(self.settings, login))) from error
        except AuthenticationException as error:
            raise ConnectError(str(refusals.refused(self.settings, login))) from error
        except (OSError, EOFError, SSHException) as error:
            if "no existing session" in str(error).lower():  # the server hung up after too many keys
                raise ConnectError(str(refusals.refused(self.settings, login))) from error
            lost = refusals.unreachable(self.settings, str(error) or "the connection was closed")
            raise ConnectError(str(lost)) from error
        return client

    def _passage(self, client: SSHClient, login: Login) -> Channel:
        """A channel through a jump host to where the next login goes."""
        transport = client.get_transport()
        try:
            if transport is None:
                raise EOFError("the connection was closed")
            return transport.open_channel(
                "direct-tcpip",
                (login.address, login.port),
                ("127.0.0.1", 0),
                timeout=self.state.config.CONNECT_TIMEOUT,
            )
        except (OSError, EOFError, SSHException) as error:
            raise ConnectError(str(refusals.unreachable(self.settings, str(error)))) from error

    def _identity(self, login: Login) -> dict[str, Any]:
        """What to log in with: the key of fleet.toml alone, or else whatever the agent and ~/.ssh have."""
        if login.key is None:
            return {"allow_agent": True, "look_for_keys": True}
        opened = next((key for key in self.host.data.keys if key.file == login.key), None)
        try:
            key = _agent_key(opened) if opened else load_key_with_certificate(str(login.key), allow_prompt=False)
        except (OSError, SSHException, PyinfraError) as error:
            raise ConnectError(f"{refusals.where(self.settings, login)}: {error}") from error
        return {"pkey": key, "allow_agent": False, "look_for_keys": False}

    def disconnect(self) -> None:
        super().disconnect()
        self._ahead.remember()
        for client in reversed(self._clients):
            # Wakes the thread that reads from it, which closing waits for: by itself it looks up too rarely.
            with contextlib.suppress(AttributeError, OSError):
                cast(Any, client.get_transport()).sock.shutdown(socket.SHUT_RDWR)
            client.close()

    def start(self, command: str, seconds: float) -> Channel:
        """The channel of a command that goes on beside others; `seconds` is how long any step of it may take.

        Raises OSError or SSHException if the connection is lost.
        """
        self.round_trips += 1
        channel = self._transport().open_session(timeout=seconds)
        channel.settimeout(seconds)
        channel.set_combine_stderr(True)
        channel.exec_command(command)
        return channel

    def run_shell_command(
        self, command: StringCommand | str, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> Answer:
        """Run a command. While a run prepares, what is known already is answered without asking again."""
        if self.state.is_executing:
            self._ahead.forget()
        elif not arguments.get("_stdin"):
            return self._ahead.ask(command, arguments, self._send)
        return self._send(command, print_output=print_output, print_input=print_input, **arguments)

    def _send(self, command: StringCommand | str, **options: Any) -> Answer:
        self.round_trips += 1
        return super().run_shell_command(cast(StringCommand, command), **options)

    def put_file(self, *arguments: Any, **options: Any) -> bool:
        self._ahead.forget()
        self.round_trips += 1
        return super().put_file(*arguments, **options)

    def _transport(self) -> Transport:
        transport = self.client.get_transport() if self.client else None
        if transport is None:
            raise EOFError("the connection was closed")
        return transport


class _Unknown(SSHException):
    """A host key that nobody vouches for."""


class _Refuse(MissingHostKeyPolicy):
    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
        raise _Unknown(hostname)


class _KeepNew(MissingHostKeyPolicy):
    """Believe a host that is met for the first time, and write down its key, as OpenSSH's accept-new does."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(mode=0o700, exist_ok=True)
            with self.file.open("a") as stream:
                stream.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")


def _load_host_keys(client: SSHClient, file: Path) -> None:
    """Line by line: paramiko drops a whole file for one line that it cannot read."""
    with contextlib.suppress(OSError):
        for line in file.read_text(errors="replace").splitlines():
            if line.strip() and not line.startswith(("#", "@")):
                with contextlib.suppress(SSHException, ValueError):
                    if (entry := HostKeyEntry.from_line(line)) and entry.key:
                        for name in entry.hostnames or ():
                            client.get_host_keys().add(name, entry.key.get_name(), entry.key)


class _Agent(AgentSSH):
    """An agent at a socket of one's own choice; paramiko's own looks into the environment."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        self._connect(connection)  # type: ignore[attr-defined]


def _agent_key(opened: OpenedKey) -> PKey:
    """The key in its agent. Raises SSHException if it is not there any more."""
    blob = base64.b64decode(opened.public.split()[1])
    key = next((key for key in _Agent(opened.agent).get_keys() if key.asbytes() == blob), None)
    if key is None:
        raise SSHException(f"the agent does not have {opened.file} any more")
    return key


class _Ahead:
    """The questions of one host in one run: what the memory expects is asked together with the first of them."""

    def __init__(self, memory: Memory | None) -> None:
        self.memory = memory
        self.remembered: list[str] = []
        """What the last run asked, read when this one asks first."""
        self.manner: str | None = None
        """How the first question was to be run: as whom, with which shell. Others go by themselves."""
        self.asked: dict[str, None] = {}
        self.known: dict[str, tuple[int, CommandOutput]] = {}
        """Exit statuses and output of those that were asked together."""
        self.alone: dict[str, Answer] = {}
        self.open = True

    def ask(self, command: StringCommand | str, arguments: dict[str, Any], send: Any) -> Answer:
        text = command.get_raw_value() if isinstance(command, StringCommand) else command
        good = arguments.get("_success_exit_codes") or (0,)
        manner = repr(sorted((name, value) for name, value in arguments.items() if name != "_success_exit_codes"))
        secret = str(command) != text  # pyinfra masks what must not be seen
        if not self.open or secret or manner != (self.manner or manner):
            return cast(Answer, send(command, **arguments))
        first, self.manner = self.manner is None, manner
        self.asked[text] = None
        if first and self.memory:
            self.remembered = self.memory.read()
        if first and (expected := [one for one in self.remembered if one != text]):
            self._together([text, *expected], arguments, send)
        if text in self.known:
            status, output = self.known[text]
            return status in good, output
        if text not in self.alone:
            self.alone[text] = send(command, **arguments)
        return self.alone[text]

    def _together(self, commands: list[str], arguments: dict[str, Any], send: Any) -> None:
        """Ask all of `commands` at once; those that the answer leaves out are asked again by whoever needs them."""
        mark = secrets.token_hex(8)
        # Over standard input, because one argument of a program may have 128 kB at most.
        options = {**arguments, "_success_exit_codes": None, "_stdin": [script(commands, mark)]}
        _, output = send(StringCommand("sh", "-s"), **options)
        for command, (status, lines) in zip(commands, answers(output, mark), strict=False):
            self.known[command] = status, CommandOutput(lines)

    def forget(self) -> None:
        """Answer nothing from now on: the host is about to change."""
        self.open = False
        self.known.clear()
        self.alone.clear()

    def remember(self) -> None:
        """Keep for the next run what this one asked."""
        if self.memory and self.asked and list(self.asked) != self.remembered:
            self.memory.write(list(self.asked))


def _prompt_transport(sock: Any, **options: Any) -> Transport:
    """paramiko's transport over a socket whose small packets leave at once.

    paramiko leaves TCP_NODELAY off, which costs 40 ms of waiting for every command, and for steps of the login.
    """
    with contextlib.suppress(AttributeError, OSError):  # a jump host's channel has no such option
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Transport(sock, **options)


def _watch(transport: Transport) -> None:
    """Close `transport` when its host falls silent.

    paramiko's keepalive never looks for an answer: a command on a vanished host would be waited for until the kernel
    gives up.
    """
    while transport.is_active():
        gevent.sleep(ASK_SECONDS)
        try:
            with gevent.Timeout(PATIENCE_SECONDS):
                # sshd refuses a request that it does not know: any answer is a sign of life (RFC 4254, 4).
                transport.global_request("keepalive@sdfleet", wait=True)
        except (gevent.Timeout, OSError, EOFError):
            transport.close()
