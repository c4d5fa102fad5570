"""`sdfleet ssh` and `sdfleet exec`: a shell on a host, and a command on several."""

import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from rich.text import Text

from deploy import interrupts
from deploy.connection.exchange import short
from deploy.connection.several import connect, each
from deploy.connection.ssh import LOST, HostError, Remote
from deploy.console import err, out, prefixes, styled, waiting
from inventory.errors import FAILED, OK
from inventory.model import HostSettings


def session(host: HostSettings, command: Sequence[str]) -> int:
    """Run `command`, or a login shell if there is none, on a host with this terminal. Returns its exit status.

    Raises HostError if the host cannot be reached.
    """
    with connect([host]) as remotes:
        remote = remotes[host.name]
        with waiting(f"a connection to {host.name}", aside=True):
            remote.reach()  # its errors are worded; those of ssh itself would not be
        terminal = sys.stdin.isatty() and sys.stdout.isatty()
        words = remote.login(line(command), terminal) if command else remote.login_shell()
        with _interrupts_go_to_the_child():
            return interrupts.run(words)


def on_all(hosts: Sequence[HostSettings], command: Sequence[str], root: bool) -> int:
    """Run `command` on all hosts at once and print what it prints, with the host's name before each line.

    + root: whether as root; otherwise as the host's SSH user
    Returns 1 if it failed on a host, or a host could not be reached; else 0.
    """
    began, text = time.monotonic(), line(command)
    before = prefixes([host.name for host in hosts])
    with connect(hosts) as remotes, waiting(f"{short(text)} on {' '.join(remotes)}", aside=True):
        ended = each(remotes, lambda remote: _printed(remote, text, root, before[remote.name]))
    for name, answer in ended.items():
        if isinstance(answer, HostError):
            err.print(styled("[bold red]error[/] {}", answer))
        elif answer:
            err.print(styled("[bold red]error[/] {}: {} ended with status {}", name, short(text), answer))
    good = sum(answer == 0 for answer in ended.values())
    took = f"{time.monotonic() - began:.1f} s"
    err.print(styled("[dim]Done on {} of {} host(s) in {}.[/]", good, len(hosts), took))
    return OK if good == len(hosts) else FAILED


def line(command: Sequence[str]) -> str:
    """A command for a shell: one word is a whole command line, several are a program and its arguments."""
    return command[0] if len(command) == 1 else shlex.join(command)


def _printed(remote: Remote, text: str, root: bool, before: Text) -> int:
    """Run a command line and print its lines. Returns its exit status. Raises HostError."""
    remote.reach()
    words = remote.argv(["sh", "-c", text]) if root else remote.login(text)
    with (
        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
        remote.running(process),
    ):
        assert process.stdout and process.stderr
        complaints = threading.Thread(target=_print, args=(process.stderr, before, err.print))
        complaints.start()
        _print(process.stdout, before, out.print)
        complaints.join()
    if process.returncode == LOST:
        remote.reach()  # raises if the connection is what failed
    return process.returncode


def _print(stream: IO[bytes], before: Text, show: Callable[[Text], None]) -> None:
    for found in stream:
        show(styled("{}  {}", before, found.decode(errors="replace").rstrip("\r\n")))


@contextmanager
def _interrupts_go_to_the_child() -> Iterator[None]:
    """Ctrl-C is for what runs on the host."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
