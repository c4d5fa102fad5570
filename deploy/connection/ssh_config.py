"""OpenSSH's client configuration for hosts of a fleet."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from deploy.connection import keys, refusals
from inventory.connection import Login
from inventory.errors import SdfleetError
from inventory.model import HostSettings

CONNECT_SECONDS = 10
ALIVE_SECONDS = 15
"""Keepalive interval; after three without an answer a connection is lost."""


def ssh_config(hosts: Iterable[HostSettings], folder: Path) -> str:
    """OpenSSH's client configuration for `hosts`; `folder` gets the sockets of shared connections and public keys.

    Raises SdfleetError if a key cannot be decrypted.
    """
    stanzas: list[str] = []
    hosts = [host for host in hosts if not host.connection.local]
    opened = {key.file: key for key in keys.opened(host.connection for host in hosts)}
    for host in hosts:
        logins = host.connection.logins
        names = [*(f"sdfleet-hop-{number}-{host.name}" for number in range(1, len(logins))), host.name]
        for name, login in zip(names, logins, strict=True):
            key = opened.get(login.key) if login.key else None
            stanzas.append(
                _stanza(name, [*_options(login, key, folder), *_jump(names[:-1] if login is logins[-1] else [])])
            )
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


def _options(login: Login, opened: keys.OpenedKey | None, folder: Path) -> Iterator[str]:
    """Address, key and known hosts of a login."""
    yield f"HostName {_word(login.address)}"
    yield f"Port {login.port}"
    yield f"User {_word(login.user)}"
    if login.key:
        key = login.key
        if opened:
            # The public key selects a key of the agent, whatever format the private key has.
            key = folder / f"{hashlib.sha256(opened.public.encode()).hexdigest()[:16]}.pub"
            key.write_text(f"{opened.public}\n")
            yield f"IdentityAgent {_path(opened.agent)}"
        yield f"IdentityFile {_path(key)}"
        yield "IdentitiesOnly yes"
    yield f"UserKnownHostsFile {_path(refusals.known_hosts(login))}"
    if login.known_hosts:
        yield "GlobalKnownHostsFile /dev/null"
    yield f"StrictHostKeyChecking {'yes' if login.known_hosts else 'accept-new'}"


def _jump(names: Sequence[str]) -> list[str]:
    return [f"ProxyJump {','.join(names)}"] if names else []


def _word(value: str) -> str:
    if not re.fullmatch(r"[^\s\"'\\#-][^\s\"'\\#]*", value):
        raise SdfleetError(f"{value!r} can't be used in an SSH configuration: remove spaces, quotes and leading dashes")
    return value


def _path(path: Path) -> str:
    text = str(path.absolute())
    if '"' in text or "\n" in text:
        raise SdfleetError(f"{text!r}: OpenSSH can't use a path with quotes or line breaks; move the file")
    return '"' + text.replace("%", "%%") + '"'
