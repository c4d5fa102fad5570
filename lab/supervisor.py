"""The first process of a lab's namespaces: it boots the hosts and takes orders; when it ends, the lab ends.

Runs as `python -m lab.supervisor FOLDER INHERITED`: INHERITED is JSON with the inherited file descriptors. It stops
on SIGTERM, or when its stdin is closed, unless it was told to stay.
"""

import contextlib
import ctypes
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from lab.containers import Container
from lab.hosts import CGROUPS, Host, Run, remove_cgroup, sh
from lab.network import GATEWAY, PACKAGES_PORT, PREFIX, SSH_PORT
from lab.orders import BOOT_SECONDS, GPU_BUILDS, PYTHON, READY, STAY, Answer, Inherited, Order
from lab.state import LabFolder, State

BRIDGE = "br0"
CLONE_NEWNS = 0x00020000


class Stop(Exception):
    """The lab must end; the text says why."""


class Supervisor:
    """The state of the lab's first process."""

    def __init__(self, folder: LabFolder, state: State, inherited: Inherited) -> None:
        self.folder, self.state, self.inherited = folder, state, inherited
        self.cgroup = CGROUPS / state.cgroup
        kinds = {host.name: Container if host.rented else Host for host in state.hosts}
        self.hosts = {host.name: kinds[host.name](host, folder, self.cgroup / host.name) for host in state.hosts}
        self.helpers: dict[str, Run] = {}

    def run(self) -> None:
        """Start the lab, serve it until it ends, and leave nothing behind."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop_by_signal)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            self._make_network()
            self._start_helpers()
            _private_mounts()
            self._mount_disks()
            self._boot()
            self._serve()
        except Stop as why:
            _log(f"stopping: {why}")
        finally:
            self._clean()

    def _make_network(self) -> None:
        sh("ip", "link", "set", "lo", "up")
        sh("ip", "link", "add", BRIDGE, "type", "bridge")
        sh("ip", "address", "add", f"{GATEWAY}/{PREFIX}", "dev", BRIDGE)
        sh("ip", "link", "set", BRIDGE, "up")

    def _start_helpers(self) -> None:
        """Start them while /run is still the machine's: the package proxy may need its DNS settings."""
        files = self.inherited
        targets = [(host.address, SSH_PORT) for host in self.state.hosts]
        targets += [(GATEWAY, service.port) for service in self.state.services]
        forwards = [f"{fd}={address}:{port}" for fd, (address, port) in zip(files.forwards, targets, strict=True)]
        self._helper("forward", [*PYTHON, "-m", "lab.forward", *forwards], files.forwards)
        with socket.create_server((GATEWAY, PACKAGES_PORT), backlog=256) as inside:
            listeners = (inside.fileno(), files.packages)
            enter = ["nsenter", f"--net=/proc/self/fd/{files.network}"]
            options = [GPU_BUILDS] if self.state.gpu_builds else []
            command = [*enter, *PYTHON, "-m", "lab.proxy", *options, *map(str, listeners)]
            self._helper("packages", command, (*listeners, files.network))
        for service in self.state.services:
            self._helper(service.name, list(service.command), ())
        for fd in (*files.forwards, files.packages, files.network):
            os.close(fd)

    def _helper(self, name: str, command: list[str], files: tuple[int, ...]) -> None:
        with (self.folder.logs / f"{name}.log").open("ab") as log:
            self.helpers[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, pass_fds=files
            )

    def _mount_disks(self) -> None:
        hosts = list(self.hosts.values())
        self.folder.hosts.mkdir()
        try:
            self._mount(0, hosts[0])
        except subprocess.CalledProcessError:
            _log(f"no overlay on the file system of {self.folder.hosts}: the hosts' disks will be in memory")
            shutil.rmtree(hosts[0].folder)
            sh("mount", "-t", "tmpfs", "-o", "mode=0755", "sdfleet-lab", self.folder.hosts)
            self._mount(0, hosts[0])
        for number, host in enumerate(hosts[1:], start=1):
            self._mount(number, host)
        for host in hosts:
            host.write_identity(self.state.hosts)
            host.connect(BRIDGE)

    def _mount(self, number: int, host: Host) -> None:
        tree = self.state.container_rootfs if host.state.rented else self.state.rootfs
        assert tree
        host.mount(tree, self.state.layers[number] if number < len(self.state.layers) else None)

    def _boot(self) -> None:
        for host in self.hosts.values():
            host.boot()
        deadline = time.monotonic() + BOOT_SECONDS
        for host in self.hosts.values():
            while not host.answers():
                if not host.running or time.monotonic() > deadline:
                    raise Stop(f"host {host.name} did not come up; see {self.folder.logs / host.name}.console")
                time.sleep(0.02)
        for service in self.state.services:
            while not _listens(service.port) and not self._dead_helpers():
                if time.monotonic() > deadline:
                    raise Stop(f"{service.name} did not come up; see {self.folder.logs / service.name}.log")
                time.sleep(0.02)
        if dead := self._dead_helpers():
            raise Stop(f"{dead[0]} has ended; see {self.folder.logs / dead[0]}.log")
        os.write(1, READY)

    def _serve(self) -> None:
        """Take orders and restart hosts that reboot, until the lab must end."""
        stay = False
        with socket.socket(fileno=self.inherited.control) as control, selectors.DefaultSelector() as selector:
            selector.register(control, selectors.EVENT_READ)
            selector.register(sys.stdin.buffer, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select(timeout=0.1)]
                if control in ready:
                    self._take_order(control)
                if sys.stdin.buffer in ready:
                    word = os.read(0, len(STAY))
                    if word != STAY and not stay:
                        raise Stop("the program that started the lab has ended")
                    stay = True
                    if not word:
                        selector.unregister(sys.stdin.buffer)
                for host in self.hosts.values():
                    host.keep_up()

    def _take_order(self, control: socket.socket) -> None:
        connection, _ = control.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            line = connection.makefile("rb").readline()
            try:
                answer = self._obey(Order.model_validate_json(line))
            except (ValueError, KeyError, OSError, subprocess.SubprocessError) as error:
                answer = Answer(error=str(error))
            connection.sendall(answer.model_dump_json().encode() + b"\n")

    def _obey(self, order: Order) -> Answer:
        hosts = [self.hosts[order.host]] if order.host else []
        for host in hosts:
            match order.what:
                case "kill":
                    host.pull_cord()
                case "stop":
                    host.stop()
                case "start" if not host.running:
                    host.boot()
                case "cut":
                    host.set_network(up=False)
                case "restore":
                    host.set_network(up=True)
                case "keep" if not host.running:
                    host.keep()
        return Answer(
            running={host.name: host.running for host in self.hosts.values()},
            cut=tuple(host.name for host in self.hosts.values() if host.cut),
            dead_helpers=self._dead_helpers(),
        )

    def _dead_helpers(self) -> tuple[str, ...]:
        return tuple(name for name, helper in self.helpers.items() if helper.poll() is not None)

    def _clean(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.folder.end()
        for host in self.hosts.values():
            host.pull_cord()
        for helper in self.helpers.values():
            helper.kill()
            helper.wait()
        for host in self.hosts.values():
            host.unmount()
        if self.folder.hosts.is_mount():
            sh("umount", self.folder.hosts)
        remove_cgroup(self.cgroup)
        self.folder.clear()
        _log("down")


def _private_mounts() -> None:
    """Leave the helpers' mount namespace, and get a /run and a pure cgroup v2 tree of our own."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNS)")
    sh("mount", "--make-rprivate", "/")
    sh("mount", "-t", "tmpfs", "-o", "mode=0755", "sdfleet-lab", "/run")
    Path("/run/netns").mkdir()
    subprocess.run(["umount", "--lazy", "--recursive", str(CGROUPS)], check=False)
    sh("mount", "-t", "cgroup2", "none", CGROUPS)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((GATEWAY, port)) == 0


def _stop_by_signal(number: int, frame: FrameType | None) -> None:
    raise Stop(signal.Signals(number).name)


def _log(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


def main(folder: str, inherited: str) -> None:
    """Supervise the lab whose record is in `folder`."""
    lab = LabFolder(Path(folder))
    state = lab.read()
    if state is None:
        sys.exit(f"{lab.state_file} is missing or not readable")
    Supervisor(lab, state, Inherited(**json.loads(inherited))).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
