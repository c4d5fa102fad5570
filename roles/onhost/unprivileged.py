"""Run a command as an unprivileged user with limits, where there is no systemd that could shut it in.

    unprivileged --user USER --seconds N [--memory BYTES] [--alone] [--offline] [--folder FOLDER] [--set NAME=VALUE ...]
                 -- COMMAND

With --alone no other process of the user lives while it runs, or after it. With --offline it reaches no network.

It gets a temporary home of its own, no way to more rights, and ends with all that it started after its time. What a
container does not let root take away it keeps: the sight of what everybody may read, and of all processes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from roles.onhost import leftovers
from roles.onhost.confine import confinement, environment, reap_orphans

MOST_OPEN = 4096


def main() -> None:
    """Run it; exits with its status, or 1 after its time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--user", required=True)
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--memory", type=int, default=0, help="limit of each process's address space; 0 for none")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--offline", action="store_true")
    parser.add_argument("--folder", default="")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    if options.alone:
        leftovers.end_of_user(options.user)
    home = tempfile.mkdtemp(prefix="sdfleet-")
    shutil.chown(home, options.user)
    reap_orphans()
    try:
        sys.exit(_run(options, home))
    finally:
        leftovers.end_below(options.user)
        if options.alone:
            leftovers.end_of_user(options.user)
        # By its own user: what is in it could be a link by now.
        confine = confinement(options.user, {})
        subprocess.run(["rm", "-rf", "--", home], preexec_fn=confine, stderr=subprocess.DEVNULL, check=False)
        with contextlib.suppress(OSError):
            Path(home).rmdir()


def _run(options: argparse.Namespace, home: str) -> int:
    own = dict(word.split("=", 1) for word in options.set)
    told = environment(options.user, {**own, "HOME": home, "TMPDIR": home})
    limits = {"nice": 5, "oom_score": 800, "open_files": MOST_OPEN, "memory": options.memory, "dies": True}
    without = "rights and a network" if options.offline else "rights"
    try:
        confine = confinement(options.user, {**limits, "offline": options.offline})
    except OSError as error:
        print(f"{options.command[0]} cannot be started without {without}: {error}", file=sys.stderr)
        return 1

    def confine_or_say() -> None:
        """subprocess itself would not say why it failed in the child."""
        try:
            confine()
        except OSError as error:
            os.write(2, f"{options.command[0]} cannot be started without {without}: {error}\n".encode())
            os._exit(1)

    try:
        child = subprocess.Popen(options.command, env=told, cwd=options.folder or home, preexec_fn=confine_or_say)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"{options.command[0]} cannot be started: {error}", file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: child.kill())
    try:
        return abs(child.wait(options.seconds))
    except subprocess.TimeoutExpired:
        child.kill()
        print(f"it has not ended after {options.seconds} s", file=sys.stderr)
        return 1
