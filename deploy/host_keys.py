"""Which host keys the engine's SSH client accepts: those that OpenSSH would, from the same files."""

import contextlib
from pathlib import Path

from paramiko import MissingHostKeyPolicy, PKey, SSHClient, SSHException
from paramiko.hostkeys import HostKeyEntry

from deploy.refusals import known_hosts
from inventory.connection import Login

GLOBAL_KNOWN_HOSTS = (Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2"))


def trust_known_hosts(client: SSHClient, login: Login) -> None:
    """Have a client accept the known keys of a login's host; a new one only if fleet.toml names no known_hosts.

    A login with a key that is not accepted raises UnknownHostKeyError.
    """
    for file in () if login.known_hosts else GLOBAL_KNOWN_HOSTS:
        _load_host_keys(client, file)
    _load_host_keys(client, known_hosts(login))
    client.set_missing_host_key_policy(_Refuse() if login.known_hosts else _KeepNew(known_hosts(login)))


class UnknownHostKeyError(SSHException):
    """The host key is not in the known hosts."""


class _Refuse(MissingHostKeyPolicy):
    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
        raise UnknownHostKeyError(hostname)


class _KeepNew(MissingHostKeyPolicy):
    """Accept and save the key of an unknown host, as OpenSSH's accept-new does."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(mode=0o700, exist_ok=True)
            with self.file.open("a") as stream:
                stream.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")


def _load_host_keys(client: SSHClient, file: Path) -> None:
    """Line by line: paramiko ignores the whole file if it cannot read one line."""
    with contextlib.suppress(OSError):
        for line in file.read_text(errors="replace").splitlines():
            if line.strip() and not line.startswith(("#", "@")):
                with contextlib.suppress(SSHException, ValueError):
                    if (entry := HostKeyEntry.from_line(line)) and entry.key:
                        for name in entry.hostnames or ():
                            client.get_host_keys().add(name, entry.key.get_name(), entry.key)
