"""What a program is given and what is taken from it where systemd does not do that: user, limits, rights."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import resource
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from roles.onhost.offline import offline

PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 1, 8, 36, 38, 47
PR_CAP_AMBIENT_RAISE = 2
CAP_NET_BIND_SERVICE = 10
CAPABILITY_VERSION_3 = 0x20080522
"""capset(2), and the numbers of capabilities(7)."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def prctl(option: int, *values: int) -> None:
    """prctl(2). Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    if library.prctl(option, *words):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), f"prctl {option}")


def keep_low_ports() -> None:
    """Let the program that is started next open ports below 1024, after a change from root with PR_SET_KEEPCAPS.

    Raises OSError where root itself may not: then nobody may, or everybody does, as in Docker's networks.
    """
    bit = 1 << CAP_NET_BIND_SERVICE
    head = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable; then those above 31
    if ctypes.CDLL(None, use_errno=True).capset(head, sets):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "capset")
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE)


def reap_orphans() -> None:
    """Become the parent of whatever programs that are started here leave behind."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def environment(user: str, own: dict[str, str]) -> dict[str, str]:
    """The environment of a service's program."""
    found = pwd.getpwnam(user)
    basic = {"PATH": PATH, "LANG": "C.UTF-8", "USER": user, "LOGNAME": user, "HOME": found.pw_dir, "SHELL": "/bin/sh"}
    return {**basic, **own}


def confinement(user: str, limits: dict[str, Any]) -> Callable[[], None]:
    """What the child of a fork does before it becomes a program of `user`.

    + limits: nice, oom_score, open_files, umask, low_ports (it may open), memory (bytes of address space), dies (with
      its parent), offline (it reaches no network)
    Raises OSError if it cannot be kept offline.
    """
    found = pwd.getpwnam(user)
    groups = os.getgrouplist(user, found.pw_gid)
    keep_offline = offline() if limits.get("offline") else None

    def confine() -> None:
        os.setsid()
        limit(limits)
        if os.geteuid() == 0 and user != "root":
            low_ports = limits.get("low_ports", False)
            prctl(PR_SET_KEEPCAPS, low_ports)
            os.setgroups(groups)
            os.setgid(found.pw_gid)
            os.setuid(found.pw_uid)
            if low_ports:
                with contextlib.suppress(OSError):
                    keep_low_ports()
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        if limits.get("dies"):
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after a change of the user, which forgets it
        if keep_offline:
            keep_offline()

    return confine


def limit(limits: Mapping[str, Any]) -> None:
    """Limit what this process and its children may use, as `confinement` has it."""
    os.umask(limits.get("umask", 0o022))
    with contextlib.suppress(OSError):
        os.nice(limits.get("nice", 0))
    with contextlib.suppress(OSError), Path("/proc/self/oom_score_adj").open("w") as score:
        score.write(str(limits.get("oom_score", 0)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limits.get("memory"):
        resource.setrlimit(resource.RLIMIT_AS, (limits["memory"], limits["memory"]))
    if limits.get("open_files"):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = limits["open_files"] if most == resource.RLIM_INFINITY else min(limits["open_files"], most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
