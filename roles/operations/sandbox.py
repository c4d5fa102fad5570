"""Strangers' code on a host: a transient unit of a user of its own, without a network, that can write nowhere."""

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


def sandboxed(seconds: int, *rules: str) -> Sequence[str]:
    """The words before a command that run it so; its standard input and output go through.

    + seconds: after which it is killed
    + rules: further properties of the unit
    """
    properties = [*LOCKED_DOWN, f"RuntimeMaxSec={seconds}", *rules]
    return ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", *(f"--property={rule}" for rule in properties)]
