"""A stranger's file is read in a child process: with limits of time and memory, as nobody, and with no other file open.

What such a file makes of its reader (endless nesting, a header of gigabytes, a pickle that unpacks for ever) ends that
child, and is the fault of that one file.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from . import pickles, safetensors
from .safetensors import FormatError

CHECK = "--check"
SECONDS = 120
"""How long a check may take; the largest files of real models take a few seconds."""
CPU_SECONDS = 30
MEMORY = 4 << 30
"""Bytes of address space; the check of a model reads its header or its pickle, never its weights."""
LARGEST_ANSWER = 1 << 20
NOBODY = 65534
NAMES = 50
NAME_LENGTH = 200


def check(file: Path, suffix: str) -> list[str]:
    """What a file mentions that the scanner does not know (pickles alone); FormatError says why it is no model."""
    if suffix != ".safetensors" and suffix not in pickles.SUFFIXES:
        return []
    with Path(sys.argv[0]).open("rb") as program, file.open("rb") as stream:
        # The program by its descriptor: nobody need not be able to walk to where it lies.
        command = [sys.executable, "-I", f"/proc/self/fd/{program.fileno()}", CHECK, suffix]
        try:
            done = subprocess.run(
                command, stdin=stream, capture_output=True, timeout=SECONDS, pass_fds=[program.fileno()], env={},
                check=False, cwd="/",
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise FormatError(f"reading it takes longer than {SECONDS} s") from None
    try:
        answer = json.loads(done.stdout[:LARGEST_ANSWER])
        unknown, fault = [str(name) for name in answer["unknown"]], answer["fault"]
    except (ValueError, KeyError, TypeError):
        limits = f"{CPU_SECONDS} s or {MEMORY >> 30} GiB"
        raise FormatError(f"reading it takes more than {limits}, or ends its reader") from None
    if fault is not None:
        raise FormatError(str(fault))
    return unknown


def main(suffix: str) -> int:
    """The child: judges standard input, tells on standard output."""
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    if suffix != ".safetensors":
        pickles.load()  # while this program can still be read
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    unknown, fault = [], None
    try:
        if suffix == ".safetensors":
            safetensors.check(sys.stdin.buffer)
        else:
            unknown = pickles.check(sys.stdin.buffer, suffix)
    except FormatError as error:
        fault = str(error)
    except RecursionError:
        fault = "it is nested too deeply"
    except MemoryError:
        fault = f"reading it takes more than {MEMORY >> 30} GiB of memory"
    shown = [name[:NAME_LENGTH] for name in unknown[:NAMES]]
    sys.stdout.write(json.dumps({"unknown": shown, "fault": fault and fault[:2000]}))
    return 0
