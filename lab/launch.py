"""Start a lab's supervisor in its own namespaces and wait until its hosts accept SSH."""

import contextlib
import os
import secrets
import select
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inventory.errors import SdfleetError
from lab import access, rootfs
from lab.files import delete
from lab.handle import Lab
from lab.network import container_name, host_address, host_name
from lab.orders import BOOT_SECONDS, PYTHON, READY, STAY, Inherited
from lab.state import PROC, HostState, LabFolder, Process, Rented, Service, State

TREE = Path(__file__).resolve().parents[1]
NAMESPACES = ("--mount", "--propagation", "private", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
STOP_SECONDS = 30


@dataclass(frozen=True)
class Plan:
    """What kind of lab to start."""

    hosts: int
    services: tuple[Service, ...]
    rootfs: Path
    gpu_builds: bool = False
    layers: tuple[Path, ...] = ()
    containers: tuple[Rented, ...] = ()
    container_rootfs: Path | None = None
    release: str = ""

    @property
    def machines(self) -> int:
        """How many hosts and containers."""
        return self.hosts + len(self.containers)


class Launch:
    """A lab that this process started; closing it ends the lab, unless it was released."""

    def __init__(self, folder: LabFolder, plan: Plan) -> None:
        """Start the lab and wait until all hosts accept SSH. Raises SdfleetError with its last lines if they do not."""
        for stale in (folder.hosts, folder.logs):
            delete(stale)
        folder.logs.mkdir()
        with contextlib.ExitStack() as stack:
            ports = [stack.enter_context(_listen()) for _ in range(1 + plan.machines + len(plan.services))]
            state = _state(plan, [port.getsockname()[1] for port in ports])
            folder.write(state)
            access.make_keys(folder, state.hosts)
            access.write_ssh_files(folder, state.hosts)
            control = stack.enter_context(_control_socket(folder))
            network = os.open(PROC / "self/ns/net", os.O_RDONLY)
            stack.callback(os.close, network)
            packages, *forwards = (port.fileno() for port in ports)
            files = Inherited(control=control.fileno(), network=network, packages=packages, forwards=tuple(forwards))
            self.process = _spawn(folder, files)
        try:
            supervisor = self._wait_until_ready(folder)
        except BaseException:
            self.close()
            raise
        state = state.model_copy(update={"supervisor": supervisor})
        folder.write(state)
        self.lab = Lab(folder, state)

    def _wait_until_ready(self, folder: LabFolder) -> Process:
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], BOOT_SECONDS + STOP_SECONDS)
        if not ready or os.read(self.process.stdout.fileno(), len(READY)) != READY:
            words = folder.supervisor_log.read_text(errors="replace").splitlines()[-8:]
            raise SdfleetError("\n".join(("the lab did not start:", *words, f"Its logs: {folder.logs}")))
        # unshare's only child; its process id outside the namespace is needed.
        children = (PROC / f"{self.process.pid}/task/{self.process.pid}/children").read_text()
        return Process.of(int(children.split()[0]))

    def release(self) -> None:
        """Keep the lab running when this process ends."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(STAY)
        self.process.stdin.close()
        self.process.stdout.close()

    def close(self) -> None:
        """End the lab and wait until all its processes are gone."""
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def _listen() -> socket.socket:
    return socket.create_server((access.LOOPBACK, 0), backlog=256)


def _control_socket(folder: LabFolder) -> socket.socket:
    folder.control.unlink(missing_ok=True)
    control = socket.socket(socket.AF_UNIX)
    try:
        control.bind(str(folder.control))
    except OSError as error:
        raise SdfleetError(f"{folder.control} can't be a Unix socket ({error}); choose a shorter folder") from error
    control.listen()
    return control


def _state(plan: Plan, ports: Sequence[int]) -> State:
    packages, *forwards = ports
    names: list[tuple[str, Rented | None]] = [(host_name(number), None) for number in range(1, plan.hosts + 1)]
    names += [(container_name(number), rented) for number, rented in enumerate(plan.containers, start=1)]
    hosts = (
        HostState(name=name, address=host_address(number), port=port, rented=rented)
        for number, ((name, rented), port) in enumerate(zip(names, forwards, strict=False), start=1)
    )
    return State(
        owner=Process.of(os.getpid()),
        release=plan.release,
        rootfs=plan.rootfs,
        container_rootfs=plan.container_rootfs,
        layers=plan.layers,
        cgroup=f"sdfleet-lab-{secrets.token_hex(4)}",
        hosts=tuple(hosts),
        packages_port=packages,
        services=plan.services,
        gpu_builds=plan.gpu_builds,
        service_ports=tuple(forwards[plan.machines :]),
    )


def _spawn(folder: LabFolder, files: Inherited) -> subprocess.Popen[bytes]:
    path = os.pathsep.join((str(TREE), *filter(None, [os.environ.get("PYTHONPATH")])))
    program = [*PYTHON, "-m", "lab.supervisor", str(folder.path), files.model_dump_json()]
    with folder.supervisor_log.open("ab") as log:
        return subprocess.Popen(
            ["unshare", *NAMESPACES, "--", *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
            env=rootfs.environment() | {"PYTHONPATH": path},
            pass_fds=(files.control, files.network, files.packages, *files.forwards),
            # In its own session, so that Ctrl-C at the terminal reaches only the program that uses the lab.
            start_new_session=True,
            cwd="/",
        )
