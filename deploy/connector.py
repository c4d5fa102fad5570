"""How the engine reaches a host: pyinfra's SSH connector, prompt, watchful, and able to ask ahead."""

import contextlib
import secrets
import socket
from typing import Any, cast

import gevent
from paramiko import Channel, Transport
from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.util import CommandOutput

from deploy.questions import Memory, answers, script

ASK_SECONDS = 15
"""How often a connected host is asked for a sign of life."""
PATIENCE_SECONDS = 45
"""How long it may stay silent; then its connection is closed, and the operation that waits for it fails."""

Answer = tuple[bool, CommandOutput]
"""What a connector returns: whether the command succeeded, and what it printed."""


class HostConnector(SSHConnector):
    """One host over SSH. Its datum `memory` (questions.Memory) says what to ask ahead."""

    def __init__(self, state: Any, host: Host) -> None:
        super().__init__(state, host)
        self.round_trips = 0
        """Commands and uploads so far, each of which waits for the network once or more."""
        self._ahead = _Ahead(host.data.get("memory"))

    def make_paramiko_kwargs(self) -> dict[str, Any]:
        options = super().make_paramiko_kwargs()
        return options | {"_pyinfra_ssh_paramiko_connect_kwargs": {"transport_factory": _prompt_transport}}

    def connect(self) -> None:
        super().connect()
        gevent.spawn(_watch, self._transport())

    def disconnect(self) -> None:
        super().disconnect()
        self._ahead.remember()
        if self.client:
            # Wakes the thread that reads from it, which closing waits for: by itself it looks up too rarely.
            with contextlib.suppress(AttributeError, OSError):
                self._transport().sock.shutdown(socket.SHUT_RDWR)
            self.client.close()

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


class _Ahead:
    """The questions of one host in one run: what the memory expects is asked together with the first of them."""

    def __init__(self, memory: Memory | None) -> None:
        self.memory = memory
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
        if first and self.memory and (expected := [one for one in self.memory.read() if one != text]):
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
        if self.memory and self.asked and list(self.asked) != self.memory.read():
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
