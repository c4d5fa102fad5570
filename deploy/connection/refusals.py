"""Why a host could not be reached and what to do about it; the same sentences for OpenSSH and paramiko."""

import time
from pathlib import Path
from typing import NamedTuple

from deploy.connection import host_memory
from inventory.connection import Login
from inventory.model import HostSettings
from roles.said import say

NO_SUDO = "sudo: a password is required"
"""What sudo prints if it needs a password and has none."""


NO_NAME = ("Could not resolve hostname", "Name or service not known", "No address associated with hostname")
"""What the resolver says of a name that does not exist."""


class Refusal(NamedTuple):
    says: str
    cure: str

    def __str__(self) -> str:
        return f"{self.says}; {self.cure}"


def where(host: HostSettings, login: Login) -> str:
    """The host, and which login on the way to it: its own or that of a jump host."""
    place = f"{login.user}@{f'[{login.address}]' if ':' in login.address else login.address}:{login.port}"
    if login == host.connection.logins[-1]:
        return f"{host.name} ({place})"
    return say("{host} (jump host {place})", host=host.name, place=place)


def changed_key(host: HostSettings, login: Login) -> Refusal:
    """The host key differs from the known one."""
    file = known_hosts(login)
    replace = f"sdfleet trust {host.name} --replace-host-key"
    cure = say("if you reinstalled it, run: {command}", command=replace)
    if login != host.connection.logins[-1]:
        forget = f"ssh-keygen -R '{login.known_as}' -f {file} && sdfleet trust {host.name}"
        cure = say("if you reinstalled it, run: {command}", command=forget)
    elif host.connection.password:  # a provider gives ports of containers that are gone to other customers
        anew = "if the provider's page still shows this address and port, it was made anew, run: {command}; {moved}"
        cure = say(anew, command=replace, moved=_moved(host))
    other = "{host}: its host key is not the one in {file}, so it may be another machine"
    return Refusal(say(other, host=where(host, login), file=file), cure)


def _moved(host: HostSettings) -> str:
    command = f"sdfleet trust {host.name} --address 'ssh -p PORT {host.connection.user}@HOST'"
    return say("if it shows another, run: {command}", command=command)


def unknown_key(host: HostSettings, login: Login) -> Refusal:
    """The host is not in known_hosts, and only hosts in it are accepted."""
    return Refusal(
        say("{host}: its host key is not in {file}", host=where(host, login), file=known_hosts(login)),
        say(
            "compare it with `{scan}`, or accept it: {command}",
            scan=f"ssh-keyscan -p {login.port} {login.address}",
            command=f"sdfleet trust {host.name}",
        ),
    )


def revoked_key(host: HostSettings, login: Login) -> Refusal:
    """The host key is marked @revoked."""
    revoked = "{host}: its host key is marked @revoked in {file}, so it may be another machine"
    return Refusal(
        say(revoked, host=where(host, login), file=known_hosts(login)),
        say("if it has a new key, add that to the file; else ask whoever revoked this one"),
    )


def vouched_key(host: HostSettings, login: Login) -> Refusal:
    """Its key is known by an authority alone, which paramiko cannot check."""
    file = known_hosts(login)
    only = "{host}: {file} has only an @cert-authority for it, which plan, apply and update cannot check"
    scan = f"ssh-keyscan -p {login.port} {login.address} >>{file}"
    return Refusal(
        say(only, host=where(host, login), file=file),
        say("add its own key: {command}, and compare it", command=scan),
    )


def refused(host: HostSettings, login: Login) -> Refusal:
    """The host accepts none of the keys."""
    none = say("none of your keys (set {setting})", setting=host.place("key"))
    key = say("the key {key}", key=login.key) if login.key else none
    refusal = "{host}: login refused: {key} is not accepted for {user}"
    says = say(refusal, host=where(host, login), key=key, user=login.user)
    return Refusal(says, say("try {command}", command=f"sdfleet trust {host.name}"))


def unreachable(host: HostSettings, why: str) -> Refusal:
    hops = ", ".join(map(str, host.connection.hops))
    over = say(" through the jump host {hops}", hops=hops) if hops else ""
    cure = say("check address, port, firewall, and that the host is up")
    if host.connection.password:
        see = "see on the provider's page whether it runs, and its address and port; {moved}"
        cure = say(see, moved=_moved(host))
    if stopped := host_memory.stopped_by_us(host, time.time()):
        compare = "{stopped}, and compare its address and port with {host}'s in fleet.toml"
        cure = say(compare, stopped=stopped, host=host.name)
    elif any(words in why for words in NO_NAME):
        cure = say(
            "write its name or IP address as DNS knows it; of a name in ~/.ssh/config, which is not read, write "
            "HostName, Port, User, IdentityFile and ProxyJump as address, port, user, key and jump"
        )
    place = where(host, host.connection.logins[-1])
    return Refusal(say("{host}: cannot be reached{over}: {why}", host=place, over=over, why=why.rstrip(".")), cure)


def known_hosts(login: Login) -> Path:
    return login.known_hosts or Path.home() / ".ssh/known_hosts"


def of_ssh(host: HostSettings, said: str) -> Refusal:
    """The sentence for what ssh printed when it did not connect."""
    logins = host.connection.logins
    # The login that ssh names; it names none if it could not connect at all.
    login = next((each for each in logins if f"{each.known_as} " in said or f"{each.known_as}:" in said), logins[-1])
    if "IDENTIFICATION HAS CHANGED" in said or "differs from the key" in said:
        return changed_key(host, login)
    if "REVOKED HOST KEY DETECTED" in said or "is marked as revoked" in said:
        return revoked_key(host, login)
    if "host key is known for" in said or "Host key verification failed" in said:
        return unknown_key(host, login)
    if "Permission denied" in said or "Too many authentication failures" in said:
        places = [each for each in logins if f"{each.user}@{each.address}: " in said]
        return refused(host, places[0] if places else logins[-1])
    lines = (said.strip() or "the connection was lost").splitlines()
    return unreachable(host, next((line for line in lines if line.startswith("ssh: ")), lines[-1]).rstrip("\r"))


def needs_sudo(host: HostSettings) -> str:
    user, setting = host.connection.user, host.place("sudo_password")
    needed = "{user} needs sudo: set {setting}, or allow sudo without one (NOPASSWD in /etc/sudoers.d)"
    return say(needed, user=user, setting=setting)


def wrong_password(host: HostSettings) -> str:
    user, setting = host.connection.user, host.place("sudo_password")
    return say("sudo refused the password of {user}; check {setting}", user=user, setting=setting)
