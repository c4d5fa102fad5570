"""Keep a program from every network: by a filter of system calls, as systemd's RestrictAddressFamilies=AF_UNIX does.

The filter is made by libseccomp, which apt needs itself. Whatever the program starts has it too, and cannot drop it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Callable

LIBRARY = "libseccomp.so.2"
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NOT_EQUAL = 1
"""seccomp.h: actions, and SCMP_CMP_NE. Programs for another architecture are killed, which is the library's default."""
IO_URING = (425, 426, 427)
"""io_uring_setup, _enter and _register, under every architecture: they would open sockets past the filter."""


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp: what an argument of a system call is compared with."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def offline() -> Callable[[], None]:
    """What the child of a fork calls, after it has given up all ways to more rights, to reach local sockets alone.

    Raises OSError where there is no such library; the child raises it where the kernel refuses the filter.
    """
    library = ctypes.CDLL(LIBRARY)
    library.seccomp_init.restype = ctypes.c_void_p
    filters = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(ALLOW)))
    local = Comparison(0, NOT_EQUAL, socket.AF_UNIX, 0)
    rules = [(library.seccomp_syscall_resolve_name(b"socket"), errno.EPERM, [local])]
    rules += [(number, errno.ENOSYS, []) for number in IO_URING]
    for call, error, comparisons in rules:
        array = (Comparison * len(comparisons))(*comparisons)
        action = ctypes.c_uint32(ERRNO | error)
        _check(library.seccomp_rule_add_array(filters, action, call, len(comparisons), array))

    def load() -> None:
        _check(library.seccomp_load(filters))

    return load


def _check(status: int) -> None:
    if status:
        raise OSError(-status, os.strerror(-status), "seccomp")
