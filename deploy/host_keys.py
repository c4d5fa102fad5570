"""Which host keys the engine's SSH client accepts: those that OpenSSH would, from the same files."""

import contextlib
from collections.abc import Collection
from pathlib import Path

from paramiko import MissingHostKeyPolicy, PKey, SSHClient, SSHException

from deploy import known_hosts
from deploy.known_hosts import KnownHosts
from deploy.refusals import known_hosts as file_of
from inventory.connection import Login

GLOBAL_KNOWN_HOSTS = (Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2"))


def trust_known_hosts(client: SSHClient, login: Login) -> KnownHosts:
    """Have a client accept the known keys of a login's host; a new one only if fleet.toml names no known_hosts.

    A login with a key that is not accepted raises UnknownHostKeyError or RevokedHostKeyError.
    """
    file = file_of(login)
    known = known_hosts.read([file] if login.known_hosts else [*GLOBAL_KNOWN_HOSTS, file], login)
    for key in known.keys:
        client.get_host_keys().add(login.known_as, key.get_name(), key)
    missing = _Refuse(known.revoked) if login.known_hosts else _KeepNew(known.revoked, file)
    client.set_missing_host_key_policy(missing)
    return known


class UnknownHostKeyError(SSHException):
    """The host key is not in the known hosts."""


class RevokedHostKeyError(SSHException):
    """The host key is listed as revoked."""


class _Refuse(MissingHostKeyPolicy):
    def __init__(self, revoked: Collection[bytes]) -> None:
        self.revoked = revoked

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
        raise RevokedHostKeyError(hostname) if key.asbytes() in self.revoked else UnknownHostKeyError(hostname)


class _KeepNew(MissingHostKeyPolicy):
    """Accept and save the key of an unknown host, as OpenSSH's accept-new does."""

    def __init__(self, revoked: Collection[bytes], file: Path) -> None:
        self.revoked, self.file = revoked, file

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
        if key.asbytes() in self.revoked:
            raise RevokedHostKeyError(hostname)
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(mode=0o700, exist_ok=True)
            with self.file.open("a") as stream:
                stream.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")
