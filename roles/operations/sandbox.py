"""Strangers' code on a host: a transient unit without root's rights and without a network, that can write nowhere."""

from collections.abc import Sequence

from roles.paths import ETC

LOCKED_DOWN = (
    "DynamicUser=yes",
    "PrivateNetwork=yes",
    "IPAddressDeny=any",
    "RestrictAddressFamilies=AF_UNIX",  # systemd 252 takes "none" in unit files only
    "InaccessiblePaths=-/run/dbus",
    f"InaccessiblePaths=-{ETC}",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateDevices=yes",
    "PrivateTmp=yes",
    "PrivateIPC=yes",
    "ProtectProc=invisible",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "LockPersonality=yes",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallErrorNumber=EPERM",
    "LimitCORE=0",
    "OOMScoreAdjust=800",
)
"""What code that turns out to be hostile finds: no network, no user, nothing to write, no secret to read."""

TRIED = (
    "PrivateNetwork=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "NoNewPrivileges=yes",
    f"InaccessiblePaths=-{ETC}",
    "RuntimeMaxSec=600",
)
"""What a service's code finds when it is tried before it serves."""

TOLD = 64_000
"""Bytes of what such a command prints that reach the controller: it could print without end."""


def sandboxed(seconds: int, *rules: str) -> Sequence[str]:
    """The words before a command that run it so; its standard input and output go through.

    + seconds: after which it is killed
    + rules: further properties of the unit
    """
    return _transient([*LOCKED_DOWN, f"RuntimeMaxSec={seconds}", *rules])


def tried(user: str) -> Sequence[str]:
    """The words before a command that run it as a service's user, to see whether a new release of it starts."""
    return [*_transient(TRIED), f"--uid={user}"]


def _transient(properties: Sequence[str]) -> Sequence[str]:
    return ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", *(f"--property={rule}" for rule in properties)]


def bounded(command: str) -> str:
    """The shell command that runs `command` and ends with its status; what it prints goes to standard error, cut off.

    What prints more is ended by the closed pipe.
    """
    return f"{{ {{ {{ {command}; echo $? >&3; }} 2>&1 | head -c {TOLD} >&2; }} 3>&1; }} | {{ read s; exit $s; }}"
