"""SSH access to a lab: fresh keys, known_hosts and an OpenSSH configuration."""

import secrets
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Sequence

from lab.network import SSH_PORT
from lab.state import HostState, LabFolder

LOOPBACK = "127.0.0.1"

SSH_CONFIG = """\
Host {name}
    HostName {loopback}
    Port {port}

"""
SSH_CONTAINER = """\
Host {name}
    HostName {loopback}
    Port {port}
    BatchMode no
    PreferredAuthentications password
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null

"""
"""As its owner comes in on the first day: by password, to a host key that nobody knows yet."""
SSH_DEFAULTS = """\
Host *
    User root
    IdentityFile "{key}"
    IdentitiesOnly yes
    UserKnownHostsFile "{known_hosts}"
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    BatchMode yes
    ConnectTimeout 5
    LogLevel ERROR
"""


def make_keys(lab: LabFolder, hosts: Sequence[HostState]) -> None:
    """Make new key pairs, one for the user and one for each host with systemd, and a password for each container."""
    shutil.rmtree(lab.keys, ignore_errors=True)
    lab.keys.mkdir(mode=0o700)
    for name in (lab.user_key.name, *(host.name for host in hosts if not host.rented)):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"sdfleet-lab-{name}", "-f"]
        subprocess.run([*command, str(lab.keys / name)], check=True, stdin=subprocess.DEVNULL)

    for host in hosts:
        if host.rented:
            _write_password(lab, host.name)


def _write_password(lab: LabFolder, container: str) -> None:
    password, askpass = lab.password(container), lab.askpass(container)
    password.touch(mode=0o600)
    password.write_text(f"{secrets.token_urlsafe(9)}\n")
    askpass.touch(mode=0o700)
    askpass.write_text(f"#!/bin/sh\nexec cat {shlex.quote(str(password))}\n")


def write_ssh_files(lab: LabFolder, hosts: Iterable[HostState]) -> None:
    """Write known_hosts and the OpenSSH configuration for `hosts`, whose keys exist.

    Containers are not in known_hosts: they make their host keys themselves, and new ones when they are wiped.
    """
    known, config = "", ""
    for host in hosts:
        if host.rented:
            config += SSH_CONTAINER.format(name=host.name, loopback=LOOPBACK, port=host.port)
            continue
        kind, key = (lab.keys / f"{host.name}.pub").read_text().split()[:2]
        names = (host.name, f"[{LOOPBACK}]:{host.port}", host.address, f"[{host.address}]:{SSH_PORT}")
        known += f"{','.join(names)} {kind} {key}\n"
        config += SSH_CONFIG.format(name=host.name, loopback=LOOPBACK, port=host.port)
    lab.known_hosts.write_text(known)
    lab.ssh_config.write_text(config + SSH_DEFAULTS.format(key=lab.user_key, known_hosts=lab.known_hosts))
