"""Checks of the controller."""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy.doctor.finding import bad, good, warning
from deploy.shapes import Finding
from inventory.errors import SdfleetError
from inventory.extras import install_command
from inventory.model import Fleet, HostSettings
from roles.said import say

ENGINES = ("pyinfra", "paramiko", "pytest-testinfra")


def examine(fleet: Fleet, hosts: Sequence[HostSettings]) -> list[Finding]:
    """All checks that need no host."""
    return [_file(fleet, hosts), _ssh(), *_versions(), _clock(), *_keys(hosts), *_known_hosts(fleet), _secrets(fleet)]


def _file(fleet: Fleet, hosts: Sequence[HostSettings]) -> Finding:
    counted = {"checked": len(hosts), "all": len(fleet.hosts)}
    return good("fleet", say("{file} is valid: checking {checked} of {all} host(s)", file=fleet.file.name, **counted))


def _ssh() -> Finding:
    try:
        said = subprocess.run(["ssh", "-V"], capture_output=True, text=True, timeout=10).stderr.strip()
    except OSError:
        return bad("ssh", "no OpenSSH client on this machine", "Install openssh-client.")
    return good("ssh", said.split(",")[0])


def _versions() -> Iterator[Finding]:
    yield good("python", platform.python_version())
    for name in ENGINES:
        try:
            yield good("engine", f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            cure = say("Install sdfleet again: {command}", command=install_command())
            yield bad("engine", say("{name} is not installed", name=name), cure)


def _clock() -> Finding:
    asked = ("timedatectl", "show", "--property=NTPSynchronized", "--value")
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    if said == "no":
        cure = "Run: timedatectl set-ntp true. TLS and the check of the hosts' clocks depend on it."
        return warning("clock", "this machine's clock is not synchronised", cure)
    return good("clock", "synchronised" if said == "yes" else "compared with each host's below")


def _keys(hosts: Sequence[HostSettings]) -> Iterator[Finding]:
    keys = sorted({host.connection.key for host in hosts if host.connection.key})
    for key in keys:
        yield _key(key)
    if any(host.connection.key is None and not host.connection.local for host in hosts):
        yield _own_keys()


def _key(key: Path) -> Finding:
    try:
        mode = key.stat().st_mode & 0o777
    except OSError as error:
        cure = "Correct fleet.key in fleet.toml, or make one: ssh-keygen -t ed25519."
        return bad("key", say("{key} cannot be read: {why}", key=key, why=error.strerror), cure)
    if mode & 0o077:
        says = say("{key} can be read by others (mode {mode:o}), so ssh ignores it", key=key, mode=mode)
        return bad("key", says, say("Run: {command}", command=f"chmod 600 {key}"))
    return good("key", say("{key} exists and is private", key=key))


def _own_keys() -> Finding:
    agent = os.environ.get("SSH_AUTH_SOCK")
    files = [key for key in (Path.home() / ".ssh").glob("id_*") if key.suffix != ".pub"]
    if agent or files:
        return good("key", "an agent is running" if agent else say("{key} exists", key=f"~/.ssh/{files[0].name}"))
    return warning("key", "no agent, and no key in ~/.ssh", "Set fleet.key, or run: ssh-keygen -t ed25519.")


def _known_hosts(fleet: Fleet) -> Iterator[Finding]:
    file = fleet.table.known_hosts
    if file is None:
        yield warning(
            "host keys",
            "a host key is trusted on the first connection",
            "Set fleet.known_hosts to a file with the hosts' keys, so that nobody can impersonate one.",
        )
        return
    place = fleet.file.parent / file
    if place.is_file():
        yield good("host keys", say("only hosts in {file} are accepted", file=place))
    else:
        cure = "Write it with ssh-keyscan and compare the keys."
        yield bad("host keys", say("{file} does not exist", file=place), cure)


def _secrets(fleet: Fleet) -> Finding:
    try:
        names = fleet.secrets.read_all()
    except SdfleetError as error:
        return bad("secrets", str(error), "Set it, or remove the reference from [secrets].")
    return good("secrets", say("readable: {names}", names=", ".join(names)) if names else "none in fleet.toml")
