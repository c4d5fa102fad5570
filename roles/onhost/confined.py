"""A stranger's file is read in a child process: with limits of time and memory, as nobody, and with no other file open.

What such a file makes of its reader (endless nesting, a header of gigabytes, a pickle that unpacks for ever) ends that
child, and is the fault of that one file. A new process and not a fork: it has nothing of its parent's memory, tokens
for one, and parents with threads can start it.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import IO, Any, BinaryIO

SECONDS = 120
"""How long reading may take; the largest files of real models take a few seconds."""
CPU_SECONDS = 30
MEMORY = 4 << 30
"""Bytes of address space; headers and pickles are read, never weights."""
LARGEST_ANSWER = 8 << 20
LONGEST_REASON = 2000
NOBODY = 65534


class StrangeFileError(Exception):
    """Why a file cannot be read, for a person."""


def ask(program: Sequence[str], stream: IO[bytes], pass_fds: Sequence[int] = ()) -> Any:
    """What a program that ends in `answer` says of an open file, which it gets as its standard input.

    + program: the words that start it, after Python's own (`own_archive.words`)
    + pass_fds: descriptors that it inherits (`own_archive.descriptors()`)
    Raises StrangeFileError. What comes back has any shape: the child may be the file's by now.
    """
    stream.seek(0)
    command = [sys.executable, "-I", *program]
    with subprocess.Popen(
        command, stdin=stream, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=pass_fds, env={}, cwd="/"
    ) as child:
        assert child.stdout
        late = threading.Event()

        def stop() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(SECONDS, stop)
        timer.start()
        try:
            said = child.stdout.read(LARGEST_ANSWER + 1)
        finally:
            timer.cancel()
            child.kill()
    if late.is_set():
        raise StrangeFileError(f"reading it takes longer than {SECONDS} s")
    try:
        told = json.loads(said)
        answer, fault = told["answer"], told["fault"]
    except (ValueError, KeyError, TypeError, RecursionError):
        limits = f"{CPU_SECONDS} s or {MEMORY >> 30} GiB"
        raise StrangeFileError(f"reading it takes more than {limits}, or ends its reader") from None
    if fault is not None:
        raise StrangeFileError(str(fault)[:LONGEST_REASON])
    return answer


def answer(read: Callable[[BinaryIO], Any]) -> None:
    """The child: gives up all rights, reads standard input, tells on standard output; whatever `read` raises too."""
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    found, fault = None, None
    try:
        found = read(sys.stdin.buffer)
    except RecursionError:
        fault = "it is nested too deeply"
    except MemoryError:
        fault = f"reading it takes more than {MEMORY >> 30} GiB of memory"
    except Exception as error:  # whatever it is, it is this file's fault
        fault = str(error)
    sys.stdout.write(json.dumps({"answer": found, "fault": fault and fault[:LONGEST_REASON]}))
