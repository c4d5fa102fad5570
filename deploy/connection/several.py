"""Connections to several hosts: opened on first use, used side by side, and closed at the end."""

import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from deploy.connection import host_memory
from deploy.connection.ssh import HostError, Remote
from deploy.connection.ssh_config import ssh_config
from inventory.model import HostSettings

PARALLEL = 32
"""How many hosts to contact at once; each takes one ssh process on the controller."""
T = TypeVar("T")


@contextmanager
def connect(hosts: Iterable[HostSettings]) -> Iterator[dict[str, Remote]]:
    """Remotes by host name. Connections open on first use, are shared, and close at the end."""
    hosts = list(hosts)
    # Unix socket paths are limited to 104 bytes: a long TMPDIR would break ControlPath.
    short = "/tmp" if Path("/tmp").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="sdfleet-", dir=short) as folder:
        config = Path(folder) / "config"
        config.write_text(ssh_config(hosts, Path(folder)))
        remotes = {host.name: Remote(host, config) for host in hosts}
        try:
            yield remotes
        finally:
            each(remotes, lambda remote: remote.close())
            for remote in remotes.values():
                if remote.answered:
                    host_memory.seen(remote.host, remote.answered)
            _hang_up(Path(folder))


def _hang_up(folder: Path) -> None:
    """End the shared connections whose sockets are in a folder."""
    sockets = [place for place in folder.iterdir() if place.is_socket()]
    stops = [["ssh", "-F", "none", "-o", f"ControlPath={place}", "-O", "exit", "any"] for place in sockets]
    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        list(pool.map(lambda stop: subprocess.run(stop, capture_output=True, timeout=10), stops))


def abandon(remotes: Iterable[Remote]) -> None:
    """End what other threads are doing on hosts, and all connections; the threads get a HostError."""
    remotes = list(remotes)
    for remote in remotes:
        remote.kill()
    for folder in {remote.config.parent for remote in remotes}:
        _hang_up(folder)  # a connection keeps the pipes of the commands that went over it open


def each(remotes: Mapping[str, Remote], work: Callable[[Remote], T]) -> dict[str, T | HostError]:
    """Call `work` for all hosts in parallel. Returns its result or HostError by host name, in their order.

    An unexpected answer of a damaged or hostile host becomes that host's error too.
    """

    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        try:
            return dict(zip(remotes, pool.map(lambda remote: attempt(remote, work), remotes.values()), strict=True))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            abandon(remotes.values())  # a signal to this process alone does not reach the commands there
            raise


def attempt(remote: Remote, work: Callable[[Remote], T]) -> T | HostError:
    """The result of `work` for a host, or its HostError."""
    try:
        return work(remote)
    except HostError as error:
        return error
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        return HostError(
            f"unexpected answer, or a damaged state file there ({type(error).__name__}: {error})", host=remote.name
        )
