"""`sdfleet open`: forward a local port to a service on a host's loopback."""

import contextlib
import socket
import subprocess
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager

from deploy import units
from deploy.connection.manager import change
from deploy.connection.several import connect
from deploy.connection.ssh import HostError, Remote
from deploy.console import err, out, waiting
from inventory.errors import ConfigError, Problem
from inventory.model import HostSettings

READY_SECONDS = 20
STARTING_SECONDS = 40
"""How long TensorBoard may take to listen after its start."""
RETRY_SECONDS = 3


def run(host: HostSettings, service: str, browser: bool) -> int:
    """Print the URL of `service` and keep the tunnel open until Ctrl-C; reconnect if it is lost.

    Raises ConfigError if the host does not have the service, HostError if it cannot be reached or nothing answers.
    """
    port = remote_port(host, service)
    with connect([host]) as remotes, contextlib.suppress(KeyboardInterrupt):
        remote = remotes[host.name]
        if service == "tensorboard":
            change(remote, "start", units.TENSORBOARD)
        require_listener(remote, service, port)
        local = port if host.connection.local else free_port(port)
        url = f"http://127.0.0.1:{local}/"
        opened = False
        while True:
            try:
                with tunnel(remote, port, local) as process:
                    if not opened:
                        out.print(f"{service} of {host.name}: {url}   (Ctrl-C closes it)")
                        if browser:
                            webbrowser.open(url)
                    opened = True
                    process.wait() if process else time.sleep(86400)
            except HostError:
                if not opened:
                    raise
            err.print(f"The connection to {host.name} was lost; trying again ...")
            time.sleep(RETRY_SECONDS)
    return 0


def remote_port(host: HostSettings, service: str) -> int:
    """The loopback port of `service` on `host`. Raises ConfigError if the host does not have it."""
    ports = {its.name: its.ports[0] for its in units.services(host) if its.private}
    if service not in ports:
        offers = ", ".join(ports) or "none"
        raise ConfigError("open", [Problem("", f"{host.name} has no service {service!r} to open; it has: {offers}")])
    return ports[service]


def require_listener(remote: Remote, service: str, port: int) -> None:
    """Raise HostError unless something listens on the host's loopback `port`."""
    patience = STARTING_SECONDS if service == "tensorboard" else 1
    probe = f"for i in $(seq {patience}); do (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>&- && exit; sleep 1; done; exit 1"
    with waiting(f"{service} on {remote.name}"):
        status = remote.run(["bash", "-c", probe], check=False).status
    if status:
        logs = f"see `sdfleet logs {remote.name} {service}`"
        raise HostError(f"nothing listens on port {port}, where {service} should; {logs}", host=remote.name)


def free_port(wanted: int) -> int:
    """`wanted` if it is free on this machine's loopback, else one that is."""
    for candidate in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise AssertionError("the system always has a free port")


@contextmanager
def tunnel(remote: Remote, port: int, local: int) -> Iterator[subprocess.Popen[bytes] | None]:
    """Forward the local port `local` to the host's loopback `port`.

    Yields the ssh process when it is open; None for this machine.

    Raises HostError if it does not open in time.
    """
    if remote.host.connection.local:
        yield None
        return
    command = ["ssh", "-F", str(remote.config), "-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes", "-N"]
    command += ["-L", f"127.0.0.1:{local}:127.0.0.1:{port}", remote.name]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            _wait(remote, process, local)
            yield process
        finally:
            process.terminate()


def _wait(remote: Remote, process: subprocess.Popen[bytes], local: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", local), 1):
            return
        time.sleep(0.05)
    process.terminate()
    said = process.stderr.read().decode(errors="replace") if process.stderr else ""
    raise HostError(f"the tunnel did not open: {said.strip() or 'no answer'}", host=remote.name, unreachable=True)
