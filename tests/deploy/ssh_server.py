"""An SSH server in this process: it lets one user in by one key, runs commands, and forwards to other servers."""

import contextlib
import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import paramiko
from paramiko import common


def line(names: str, key: paramiko.PKey) -> str:
    """A line of a known_hosts file."""
    return f"{names} {key.get_name()} {key.get_base64()}\n"


@dataclass
class Server:
    """A server on a loopback address, and who may log in."""

    user: str
    allowed: paramiko.PKey
    address: str = "127.0.0.1"
    host_key: paramiko.PKey = field(default_factory=lambda: paramiko.ECDSAKey.generate())
    further_keys: list[paramiko.PKey] = field(default_factory=list)
    """Its host keys of other types."""
    port: int = 0
    logins: list[str] = field(default_factory=list)
    """Users that were let in."""
    answers: dict[str, str] = field(default_factory=dict)
    """Part of a command -> what is answered instead of running it; the command then lasts as long as the connection."""
    cuts: dict[str, str] = field(default_factory=dict)
    """The same for commands whose answer is the last of the connection."""

    @property
    def known(self) -> str:
        """Its line of a known_hosts file."""
        return line(f"[{self.address}]:{self.port}", self.host_key)

    @contextlib.contextmanager
    def running(self) -> Iterator["Server"]:
        """Serve until the end of the block."""
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        with socket.create_server((self.address, self.port), family=family) as listener:
            self.port = listener.getsockname()[1]
            threading.Thread(target=self._serve, args=(listener,), daemon=True).start()
            yield self
            listener.shutdown(socket.SHUT_RDWR)

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                transport = paramiko.Transport(connection)
                for key in (self.host_key, *self.further_keys):
                    transport.add_server_key(key)
                session = _Session(self)
                transport.start_server(event=threading.Event(), server=session)
                threading.Thread(target=session.forward, args=(transport,), daemon=True).start()


class _Session(paramiko.ServerInterface):
    def __init__(self, server: Server) -> None:
        self.server = server
        self.targets: dict[int, socket.socket] = {}
        self.one_at_a_time = threading.Lock()

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        if username != self.server.user or key.asbytes() != self.server.allowed.asbytes():
            return common.AUTH_FAILED
        self.server.logins.append(username)
        return common.AUTH_SUCCESSFUL

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return common.OPEN_SUCCEEDED if kind == "session" else common.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        try:
            there = socket.create_connection(destination, 5)
        except OSError:
            return common.OPEN_FAILED_CONNECT_FAILED
        self.targets[chanid] = there
        return common.OPEN_SUCCEEDED

    def forward(self, transport: paramiko.Transport) -> None:
        """Join channels to the servers that they were asked for."""
        while transport.is_active():
            channel = transport.accept(1)
            if channel is not None and channel.get_id() in self.targets:
                there = self.targets.pop(channel.get_id())
                threading.Thread(target=_join, args=(channel, there), daemon=True).start()

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        for known, ends in ((self.server.answers, False), (self.server.cuts, True)):
            if part := next((part for part in known if part in command.decode()), None):
                threading.Thread(target=_say, args=(channel, known[part], ends), daemon=True).start()
                return True
        threading.Thread(target=self.execute, args=(channel, command), daemon=True).start()
        return True

    def execute(self, channel: paramiko.Channel, command: bytes) -> None:
        """Run the command and close the channel."""
        done = subprocess.run(
            ["sh", "-c", command.decode()], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        with contextlib.suppress(OSError, EOFError):
            channel.sendall(done.stdout)
            channel.sendall_stderr(done.stderr)
            channel.send_exit_status(done.returncode)
            with self.one_at_a_time:
                # The thread that reads the client's answer also accepts the command. paramiko's client fails if the
                # channel is closed before its command was accepted.
                channel.get_transport().global_request("ping@test", wait=True)
            channel.close()


def _say(channel: paramiko.Channel, text: str, ends: bool) -> None:
    channel.sendall(text.encode())
    if ends:
        time.sleep(0.1)  # until the text has left
        channel.get_transport().close()


def _join(channel: paramiko.Channel, there: socket.socket) -> None:
    """Carry bytes both ways until one side ends."""
    with there, contextlib.suppress(OSError, EOFError):
        while True:
            both: list[Any] = [channel, there]
            ready, _, _ = select.select(both, [], [])
            for source, sink in ((channel, there), (there, channel)):
                if source in ready:
                    data = source.recv(32768)
                    if not data:
                        channel.close()
                        return
                    sink.sendall(data)
