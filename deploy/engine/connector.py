"""How the engine reaches a host: pyinfra's SSH connector with TCP_NODELAY, keepalive and questions asked ahead."""

import contextlib
import shlex
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import IOBase
from itertools import zip_longest
from pathlib import Path
from typing import Any, cast

import gevent
from paramiko import (
    AuthenticationException,
    Channel,
    SSHClient,
    SSHException,
    Transport,
)
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.ssh_util import load_key_with_certificate

from deploy.connection import refusals
from deploy.engine.agent_keys import agent_key
from deploy.engine.host_keys import (
    ChangedHostKeyError,
    RevokedHostKeyError,
    UnknownHostKeyError,
    prefer_known_types,
    trust_known_hosts,
)
from deploy.engine.known_hosts import KnownHosts
from deploy.engine.questions import Answer, Questions
from inventory.connection import Login
from inventory.model import HostSettings

ASK_SECONDS = 15
"""Interval of the keepalive requests."""
PATIENCE_SECONDS = 45
"""How long a host may stay silent before its connection is closed and the waiting operation fails."""

PART = 1 << 20
"""Bytes of a file that are read at a time."""


class HostConnector(SSHConnector):
    """One host over SSH, as its `settings` say.

    Host data: `keys` are opened keys (keys.OpenedKey); `memory` (questions.Memory) lists the questions to ask ahead.
    """

    def __init__(self, state: Any, host: Host) -> None:
        super().__init__(state, host)
        self.settings: HostSettings = host.data.settings
        self._clients: list[SSHClient] = []
        self.round_trips = 0
        """Commands and uploads so far; each waits for the network at least once."""
        self.connections = 0
        """How often it has been connected: once more after each reboot of the host."""
        self.locked_since = 1
        """Which of these connections the host's lock was taken over, by this process or by who started it."""
        self.unconfirmed = False
        """Whether a change of an earlier controller waited for its confirmation when the host's lock was taken."""
        self._questions = Questions(host.data.get("memory"))

    def connect(self) -> None:
        super().connect()
        self.connections += 1
        gevent.spawn(_watch, self._transport())

    def _connect(self) -> None:
        """Log in, through the jump hosts if there are any. Raises ConnectError."""
        self.client = cast(Any, self._through(self._clients))

    def _through(self, clients: list[SSHClient]) -> SSHClient:
        """A new connection to the host; `clients` gets it and those to the jump hosts. Raises ConnectError."""
        sock: Channel | None = None
        for login, following in zip_longest(self.settings.connection.logins, self.settings.connection.logins[1:]):
            client = self._logged_in(login, sock)
            clients.append(client)
            if following:
                sock = self._passage(client, following)
        return client

    @contextlib.contextmanager
    def another_connection(self) -> Iterator[Callable[[str], tuple[int, str]]]:
        """A connection of its own, made now. Yields what runs a command over it: its status, and what it printed.

        Raises ConnectError, or OSError, EOFError or SSHException if the connection is lost.
        """
        clients: list[SSHClient] = []

        def run(command: str) -> tuple[int, str]:
            transport = clients[-1].get_transport()
            if transport is None:
                raise EOFError("the connection was closed")
            channel = transport.open_session(timeout=PATIENCE_SECONDS)
            channel.settimeout(PATIENCE_SECONDS)
            channel.set_combine_stderr(True)
            channel.exec_command(command)
            self.round_trips += 1
            said = _said(channel)
            return channel.recv_exit_status(), said

        try:
            self._through(clients)
            yield run
        finally:
            _close(clients)

    def _logged_in(self, login: Login, sock: Channel | None) -> SSHClient:
        client = SSHClient()
        known = trust_known_hosts(client, login)
        try:
            client.connect(
                login.address,
                login.port,
                login.user,
                sock=cast(Any, sock),
                timeout=self.state.config.CONNECT_TIMEOUT,
                transport_factory=cast(Any, partial(_prompt_transport, known)),
                **self._identity(login),
            )
        except ChangedHostKeyError as error:
            raise ConnectError(str(refusals.changed_key(self.settings, login))) from error
        except UnknownHostKeyError as error:
            why = refusals.vouched_key if known.authority else refusals.unknown_key
            raise ConnectError(str(why(self.settings, login))) from error
        except RevokedHostKeyError as error:
            raise ConnectError(str(refusals.revoked_key(self.settings, login))) from error
        except AuthenticationException as error:
            raise ConnectError(str(refusals.refused(self.settings, login))) from error
        except (OSError, EOFError, SSHException) as error:
            if "no existing session" in str(error).lower():  # the server hung up after too many keys
                raise ConnectError(str(refusals.refused(self.settings, login))) from error
            lost = refusals.unreachable(self.settings, str(error) or "the connection was closed")
            raise ConnectError(str(lost)) from error
        return client

    def _passage(self, client: SSHClient, login: Login) -> Channel:
        """A channel through a jump host to the address of the next login."""
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
        """What to log in with: only the key in fleet.toml if there is one, else the keys of the agent and ~/.ssh."""
        if login.key is None:
            return {"allow_agent": True, "look_for_keys": True}
        opened = next((key for key in self.host.data.keys if key.file == login.key), None)
        try:
            key = agent_key(opened) if opened else load_key_with_certificate(str(login.key), allow_prompt=False)
        except (OSError, SSHException, PyinfraError) as error:
            raise ConnectError(f"{refusals.where(self.settings, login)}: {error}") from error
        return {"pkey": key, "allow_agent": False, "look_for_keys": False}

    def disconnect(self) -> None:
        super().disconnect()
        self._questions.remember()
        _close(self._clients)

    def start(self, command: str, seconds: float) -> Channel:
        """Start a command that runs beside others; `seconds` is the timeout of each step. Returns its channel.

        Raises OSError or SSHException if the connection is lost.
        """
        if self.state.is_executing:
            self._questions.forget()
        self.round_trips += 1
        channel = self._transport().open_session(timeout=seconds)
        channel.settimeout(seconds)
        channel.set_combine_stderr(True)
        channel.exec_command(command)
        return channel

    def run_shell_command(
        self, command: StringCommand | str, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> Answer:
        """Run a command. What is known already is answered without asking again, until the host may have changed."""
        if not self.state.is_executing and not arguments.get("_stdin"):
            return self._questions.ask(command, arguments, self._send)
        if self.state.is_executing:
            # pyinfra asks an operation's facts again when it runs; only a command that asked nothing can change them.
            if answer := self._questions.answer(command, arguments):
                return answer
            self._questions.forget()
        return self._send(command, print_output=print_output, print_input=print_input, **arguments)

    def _send(self, command: StringCommand | str, **options: Any) -> Answer:
        self.round_trips += 1
        return super().run_shell_command(cast(StringCommand, command), **options)

    def put_file(self, filename_or_io: str | IOBase, remote_filename: str, *_: Any, **arguments: Any) -> bool:
        """Write a file as the login. Over a command's standard input: sshd of rented containers may have no SFTP.

        Raises OSError with what the host said.
        """
        assert isinstance(filename_or_io, str) and not arguments.get("_sudo"), "as roles.operations.upload calls it"
        channel = self.start(f"cat >{shlex.quote(remote_filename)}", PATIENCE_SECONDS)
        try:
            with Path(filename_or_io).open("rb") as source:
                while part := source.read(PART):
                    channel.sendall(part)
            channel.shutdown_write()
        except OSError as error:
            raise OSError(_said(channel) or str(error) or "the host stopped reading") from error
        said = _said(channel)
        if channel.recv_exit_status():
            raise OSError(said or "the connection was lost")
        return True

    @property
    def lost(self) -> bool:
        """Whether the connection has ended."""
        transport = self.client.get_transport() if self.client else None
        return transport is None or not transport.is_active()

    def _transport(self) -> Transport:
        transport = self.client.get_transport() if self.client else None
        if transport is None:
            raise EOFError("the connection was closed")
        return transport


def _close(clients: Sequence[SSHClient]) -> None:
    for client in reversed(clients):
        # Wakes the reading thread at once; close() waits for that thread, which otherwise polls too rarely.
        with contextlib.suppress(AttributeError, OSError):
            cast(Any, client.get_transport()).sock.shutdown(socket.SHUT_RDWR)
        client.close()


def _said(channel: Channel) -> str:
    """All that a command printed, which has ended or ends when its input does."""
    said = b""
    with contextlib.suppress(OSError):
        while part := channel.recv(PART):
            said += part
    return said.decode(errors="replace").strip()


def _prompt_transport(known: KnownHosts, sock: Any, **options: Any) -> Transport:
    """paramiko's transport with TCP_NODELAY, without which each command and login step takes 40 ms longer.

    The types of the host's known keys come first.
    """
    with contextlib.suppress(AttributeError, OSError):  # a jump host's channel has no socket options
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = Transport(sock, **options)
    prefer_known_types(transport, known)
    return transport


def _watch(transport: Transport) -> None:
    """Close `transport` when its host stops answering.

    paramiko's keepalive does not wait for a reply: a command on a lost host would hang until the kernel gives up.
    """
    while transport.is_active():
        gevent.sleep(ASK_SECONDS)
        try:
            with gevent.Timeout(PATIENCE_SECONDS):
                # sshd rejects a request that it does not know; that reply is enough (RFC 4254, 4).
                transport.global_request("keepalive@sdfleet", wait=True)
        except (gevent.Timeout, OSError, EOFError):
            transport.close()
