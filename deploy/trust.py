"""`sdfleet trust`: log in by password once and install an SSH key."""

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from getpass import getpass
from pathlib import Path

from deploy.connection import refusals
from deploy.connection.ssh import HostError
from deploy.connection.ssh_config import ssh_config
from deploy.console import out
from deploy.options import one_host
from inventory import edit
from inventory.connection import Connection
from inventory.errors import SdfleetError
from inventory.model import HostSettings

USUAL_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
VARIABLE = "SDFLEET_SSH_PASSWORD"
ASKPASS = f"#!/bin/sh\nprintf '%s\\n' \"${VARIABLE}\"\n"
ADD = (
    'umask 077; mkdir -p ~/.ssh; read -r key; grep -qxF -e "$key" ~/.ssh/authorized_keys 2>/dev/null || '
    '{ [ -z "$(tail -c1 ~/.ssh/authorized_keys 2>/dev/null)" ] || echo >>~/.ssh/authorized_keys; '
    'echo "$key" >>~/.ssh/authorized_keys; }'
)
"""Adds the line on standard input to authorized_keys, unless it is there. No sftp is needed."""

TIMEOUT = 60


def at(fleet: Path, name: str, address: str | None, replace_host_key: bool) -> None:
    """Install this machine's key on a host of the file `fleet`, after writing its new address there if one is given."""
    if address is not None:
        one_host(fleet, name)
        edit.move_host(fleet, name, address)
        out.print(f"{fleet}: hosts.{name}.address is now {address!r}")
    run(one_host(fleet, name), replace_host_key=replace_host_key)


def run(host: HostSettings, *, replace_host_key: bool) -> None:
    """Install a public key of this machine on the host, by its password.

    + replace_host_key: forget the known host key, for a host that was reinstalled
    Raises HostError if the login fails, SdfleetError if there is no key to install.
    """
    connection = host.connection
    if connection.local:
        raise SdfleetError(f"{host.name} is this machine; it needs no key")
    if replace_host_key:
        forget(connection)
    with tempfile.TemporaryDirectory(prefix="sdfleet-trust-") as name:
        folder = Path(name)
        # An unknown host key is accepted here even with a configured known_hosts: this verb is what adds it.
        config = ssh_config([host], folder).replace("StrictHostKeyChecking yes", "StrictHostKeyChecking accept-new")
        (folder / "config").write_text(config)
        if _ssh(host, folder, ["true"], ["BatchMode=yes"]).returncode == 0:
            out.print(f"{host.name} already accepts a key of yours. Next: sdfleet check")
            return
        key = public_key(connection)
        askpass = folder / "askpass"
        askpass.write_text(ASKPASS)
        askpass.chmod(0o700)
        done = _ssh(
            host,
            folder,
            [ADD],
            ["BatchMode=no", "NumberOfPasswordPrompts=1", "PreferredAuthentications=password,keyboard-interactive"],
            environment={VARIABLE: _password(host), "SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force"},
            text=key.read_text().strip() + "\n",
        )
        if done.returncode != 0:
            raise HostError(_reason(host, done.stderr), unreachable=done.returncode == 255)
        if _ssh(host, folder, ["true"], ["BatchMode=yes"]).returncode != 0:
            raise HostError(
                f"the key {key} is installed, but the host does not accept it; check PubkeyAuthentication "
                "and PermitRootLogin in its sshd_config, and the owner of ~/.ssh there",
                host=host.name,
            )
    out.print(f"{host.name} accepts {key.with_suffix('')}. Its password is no longer needed.")
    out.print("Next: sdfleet check")


def forget(connection: Connection) -> None:
    """Remove a host's key from known_hosts."""
    login = connection.logins[-1]
    file = refusals.known_hosts(login)
    if file.exists():
        forget = ["ssh-keygen", "-q", "-R", login.known_as, "-f", str(file)]
        subprocess.run(forget, capture_output=True, timeout=TIMEOUT)


def public_key(connection: Connection) -> Path:
    """The public key that sdfleet will use; made if this machine has none. Raises SdfleetError."""
    if connection.key:
        public = connection.key.with_name(f"{connection.key.name}.pub")
        if not public.exists():
            raise SdfleetError(f"{public}: no such file; make it with: ssh-keygen -y -f {connection.key} > {public}")
        return public
    folder = Path.home() / ".ssh"
    for name in USUAL_KEYS:
        if (folder / f"{name}.pub").exists():
            return folder / f"{name}.pub"
    folder.mkdir(mode=0o700, exist_ok=True)
    made = folder / USUAL_KEYS[0]
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made)], check=True, timeout=TIMEOUT)
    out.print(f"Created a new key: {made}")
    return made.with_name(f"{made.name}.pub")


def _password(host: HostSettings) -> str:
    reference = host.connection.password
    if reference:
        return reference.read(f"hosts.{host.name}.password")
    return getpass(f"Password of {host.connection.user}@{host.connection.address}: ")


def _ssh(
    host: HostSettings,
    folder: Path,
    command: Sequence[str],
    options: Sequence[str],
    environment: Mapping[str, str] | None = None,
    text: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a command on the host over its own connection."""
    given = [part for option in (*options, "ControlMaster=no", "ControlPath=none") for part in ("-o", option)]
    try:
        return subprocess.run(
            ["ssh", "-F", str(folder / "config"), *given, host.name, *command],
            env=os.environ | dict(environment or {}),
            input=text,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired as error:
        raise HostError(f"no answer within {TIMEOUT} s", host=host.name, unreachable=True) from error


def _reason(host: HostSettings, said: str) -> str:
    if "Permission denied" in said:
        where = refusals.where(host, host.connection.logins[-1])
        return f"{where}: wrong password, or the host does not allow passwords"
    return str(refusals.of_ssh(host, said))
