"""Strangers' code on a host: a transient unit without root's rights and without a network, that can write nowhere."""

import shlex
from collections.abc import Mapping, Sequence

from roles.accounts import SANDBOX
from roles.managers import Manager, Supervisor
from roles.paths import ETC
from roles.programs import command

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

TRIED_SECONDS = 600
TRIED = (
    "PrivateNetwork=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "NoNewPrivileges=yes",
    f"InaccessiblePaths=-{ETC}",
    f"RuntimeMaxSec={TRIED_SECONDS}",
)
"""What a service's code finds when it is tried before it serves."""

TOLD = 64_000
"""Bytes of what such a command prints that reach the controller: it could print without end."""


def shut_in(
    manager: Manager, seconds: int, environment: Mapping[str, str], memory: int = 0, rules: Sequence[str] = ()
) -> Sequence[str]:
    """The words before a command of strangers, as confined as the host's service manager can have it.

    Its standard input and output go through.

    + seconds: after which it is killed
    + memory: limit of its memory in bytes, 0 for none; without systemd that of each process's address space
    + rules: further properties of the unit, with systemd
    """
    if isinstance(manager, Supervisor):
        alone = ["--alone", "--offline", *(["--memory", str(memory)] if memory else [])]
        return _unprivileged(manager, SANDBOX, seconds, environment, alone)
    words = " ".join(f"{name}={value}" for name, value in environment.items())
    limits = [f"RuntimeMaxSec={seconds}", *([f"MemoryMax={memory}"] if memory else [])]
    return _transient([*LOCKED_DOWN, *limits, *rules, f"Environment={words}"])


def _unprivileged(
    manager: Supervisor, user: str, seconds: int, environment: Mapping[str, str], more: Sequence[str] = ()
) -> list[str]:
    words = command(manager.paths.onhost, "unprivileged", "--user", user, "--seconds", seconds, *more)
    return [*words, *(f"--set={name}={value}" for name, value in environment.items()), "--"]


def tried(user: str, manager: Manager, environment: Mapping[str, str], folder: str = "") -> str:
    """The beginning of a shell command that runs one as a service's user, to see whether a new release of it starts.

    + environment: variables, as words of the shell
    + folder: where it starts, below the working directory
    """
    if isinstance(manager, Supervisor):
        words = shlex.join(_unprivileged(manager, user, TRIED_SECONDS, {})[:-1])
        place = f' --folder="$PWD/{folder}"'
        return " ".join([words + place, *(f"--set={name}={value}" for name, value in environment.items()), "--"])
    place = f' --working-directory="$PWD/{folder}"' if folder else ""
    words = shlex.join([*_transient(TRIED), f"--uid={user}"])
    return " ".join([words + place, *(f"--setenv={name}={value}" for name, value in environment.items())])


def _transient(properties: Sequence[str]) -> Sequence[str]:
    return ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", *(f"--property={rule}" for rule in properties)]


def bounded(command: str) -> str:
    """The shell command that runs `command` and ends with its status; what it prints goes to standard error, cut off.

    What prints more is ended by the closed pipe.
    """
    return f"{{ {{ {{ {command}; echo $? >&3; }} 2>&1 | head -c {TOLD} >&2; }} 3>&1; }} | {{ read s; exit $s; }}"
