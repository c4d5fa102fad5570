"""Which host keys the engine's SSH client accepts: those that OpenSSH would, from the same files."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from paramiko import MissingHostKeyPolicy, PKey, SSHClient, SSHException, Transport

from deploy.connection.refusals import known_hosts as file_of
from deploy.engine import known_hosts
from deploy.engine.known_hosts import KnownHosts
from inventory.connection import Login

GLOBAL_KNOWN_HOSTS = (Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2"))
RSA = ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")
"""Signatures of an RSA key; the key itself is always called ssh-rsa."""


class UnknownHostKeyError(SSHException):
    """The host key is not in the known hosts."""


class ChangedHostKeyError(SSHException):
    """The known hosts have other keys of the host."""


class RevokedHostKeyError(SSHException):
    """The host key is listed as revoked."""


def trust_known_hosts(client: SSHClient, login: Login) -> KnownHosts:
    """Have a client accept the known keys of a login's host; a new one only if fleet.toml names no known_hosts.

    A login with a key that is not accepted raises one of the errors above.
    """
    file = file_of(login)
    known = known_hosts.read([file] if login.known_hosts else [*GLOBAL_KNOWN_HOSTS, file], login)
    # paramiko's own lists stay empty, because they have one key of a type for a host: so the policy is always asked.
    client.set_missing_host_key_policy(_Policy(known, None if login.known_hosts else file))
    return known


def prefer_known_types(transport: Transport, known: KnownHosts) -> None:
    """Have the host asked first for a key of a type that is known; it would show another of its keys else."""
    types = {key.get_name() for key in known.keys or known.without_port}
    wanted = {name for kind in types for name in (RSA if kind == "ssh-rsa" else (kind,))}
    options = transport.get_security_options()
    options.key_types = sorted(options.key_types, key=lambda name: name not in wanted)


class _Policy(MissingHostKeyPolicy):
    """Decides as OpenSSH does.

    + new: file in which the key of an unknown host is saved (OpenSSH's accept-new); None refuses it
    """

    def __init__(self, known: KnownHosts, new: Path | None) -> None:
        self.known, self.new = known, new

    def missing_host_key(self, client: SSHClient, hostname: str, key: PKey) -> None:
        known = self.known
        if _among(known.revoked, key):
            raise RevokedHostKeyError(hostname)
        if _among(known.keys, key):
            return
        if known.keys:
            raise ChangedHostKeyError(hostname)
        if _among(known.without_port, key):
            return
        if not self.new:
            raise UnknownHostKeyError(hostname)
        with contextlib.suppress(OSError):
            _save(self.new, f"{hostname.lower()} {key.get_name()} {key.get_base64()}\n")


def _among(keys: Sequence[PKey], key: PKey) -> bool:
    return key.asbytes() in [each.asbytes() for each in keys]


def _save(file: Path, line: str) -> None:
    file.parent.mkdir(mode=0o700, exist_ok=True)
    with file.open("ab+") as stream:
        if stream.seek(0, 2):
            stream.seek(-1, 2)
            if stream.read(1) != b"\n":  # a last line without its end
                line = f"\n{line}"
        stream.write(line.encode())
