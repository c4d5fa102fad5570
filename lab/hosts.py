"""One host as the supervisor sees it: disk, network, boot and power."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from lab.network import GATEWAY, PREFIX, SSH_PORT
from lab.state import HostState, LabFolder

CGROUPS = Path("/sys/fs/cgroup")
REBOOT = 133
"""Exit code of systemd-nspawn that asks for a reboot."""
DYING_SECONDS = 5
SHARED_CORES = {"OMP_NUM_THREADS": "1"}
"""Environment of all that a host runs. Hosts share the machine's cores: threads of one training that wait for each
other keep those of the next from computing. Three trainings at once took 103 s on two cores and take 43 s; one alone
takes as long with one thread as with two, 36 s."""

Run = subprocess.Popen[bytes]


def sh(*command: str | Path) -> None:
    """Run a program; raises CalledProcessError if it fails."""
    subprocess.run([str(part) for part in command], check=True, stdin=subprocess.DEVNULL)


@dataclass
class Host:
    """One host of a lab; only for the supervisor."""

    state: HostState
    lab: LabFolder
    cgroup: Path
    cut: bool = False
    wanted: bool = True
    """Whether it should run; not after its power was cut."""
    settings: ClassVar[Mapping[str, str]] = {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}
    """Environment of systemd-nspawn."""
    process: Run | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Its name."""
        return self.state.name

    @property
    def folder(self) -> Path:
        """Its folder on the machine's disk."""
        return self.lab.hosts / self.name

    @property
    def root(self) -> Path:
        """Its root file system."""
        return self.folder / "root"

    @property
    def disk(self) -> Path:
        """The folder for what it writes to its root file system."""
        return self.folder

    def mount(self, rootfs: Path, layer: Path | None) -> None:
        """Mount its writable layer over `rootfs`, or over another host's layer on that."""
        below = f"{layer}:{rootfs}" if layer else rootfs
        upper, work = self.disk / "upper", self.disk / "work"
        for own in (upper, work, self.root):
            own.mkdir(parents=True)
        # volatile: nothing is ever synced to disk; the host is deleted at `down` anyway.
        # redirect_dir: folders of a lower layer can be renamed, as on any disk.
        options = f"lowerdir={below},upperdir={upper},workdir={work},redirect_dir=on,volatile"
        sh("mount", "-t", "overlay", "sdfleet-lab", "-o", options, self.root)

    def keep(self) -> None:
        """Let go of its disk, so that the layer `upper` in its folder can be moved."""
        self.unmount()

    def unmount(self) -> None:
        """Unmount its disks, if they are mounted."""
        if self.root.is_mount():
            sh("umount", "--recursive", self.root)

    def write_identity(self, everyone: Iterable[HostState]) -> None:
        """Write its name, its host key, the user's public key, and the names of the other hosts."""
        self._write_names(everyone)
        self._write_environment()
        for suffix, mode in (("", 0o600), (".pub", 0o644)):
            key = self.root / f"etc/ssh/ssh_host_ed25519_key{suffix}"
            shutil.copyfile(self.lab.keys / f"{self.name}{suffix}", key)
            key.chmod(mode)
        # All connections come from one address, which OpenSSH since 9.8 would shut out for what single tests do.
        if (self.root / "usr/lib/openssh/sshd-session").exists():
            (self.root / "etc/ssh/sshd_config.d/lab.conf").write_text(f"PerSourcePenaltyExemptList {GATEWAY}\n")
        ssh = self.root / "root/.ssh"
        ssh.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(self.lab.user_key.with_suffix(".pub"), ssh / "authorized_keys")

    def _write_names(self, everyone: Iterable[HostState]) -> None:
        (self.root / "etc/hostname").write_text(f"{self.name}\n")
        names = [f"{host.address} {host.name}\n" for host in everyone]
        (self.root / "etc/hosts").write_text(f"127.0.0.1 localhost\n{GATEWAY} lab\n{''.join(names)}")
        machine_id = self.root / "etc/machine-id"
        machine_id.unlink(missing_ok=True)
        machine_id.touch()

    def _write_environment(self) -> None:
        lines = "".join(f"{name}={value}\n" for name, value in SHARED_CORES.items())
        (self.root / "etc/environment").write_text(lines)
        if (self.root / "usr/lib/systemd/systemd").exists():
            settings = self.root / "etc/systemd/system.conf.d/lab.conf"
            settings.parent.mkdir(exist_ok=True)
            settings.write_text(f"[Manager]\nDefaultEnvironment={' '.join(lines.split())}\n")

    def connect(self, bridge: str) -> None:
        """Make its network namespace, with eth0 on the lab's bridge."""
        sh("ip", "netns", "add", self.name)
        sh("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        sh("ip", "link", "set", self._cable, "master", bridge, "up")
        sh("ip", "-n", self.name, "link", "set", "lo", "up")
        sh("ip", "-n", self.name, "address", "add", f"{self.state.address}/{PREFIX}", "dev", "eth0")
        sh("ip", "-n", self.name, "link", "set", "eth0", "up")

    @property
    def _cable(self) -> str:
        return f"v-{self.name}"

    def boot(self) -> None:
        """Start it; returns before it has booted."""
        command = ["systemd-nspawn", "--quiet", f"--directory={self.root}", f"--machine={self.name}"]
        command += ["--register=no", "--keep-unit", "--resolv-conf=off", "--timezone=off", "--link-journal=no"]
        command += ["--console=read-only", f"--network-namespace-path=/run/netns/{self.name}", *self._kind()]
        self.cgroup.mkdir(parents=True, exist_ok=True)
        with (self.lab.logs / f"{self.name}.console").open("ab") as console:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env=os.environ | dict(self.settings),
                preexec_fn=self._enter_cgroup(),
                start_new_session=True,
            )
        self.wanted = True

    def _kind(self) -> list[str]:
        """What makes systemd-nspawn start a whole system."""
        return ["--boot", "--capability=CAP_NET_ADMIN"]

    def _enter_cgroup(self) -> Callable[[], None]:
        # preexec_fn is safe because the supervisor has one thread. The host needs its own cgroup: systemd takes the
        # one it starts in for its root, and two in the same one would move each other's services.
        procs = self.cgroup / "cgroup.procs"

        def enter() -> None:
            procs.write_text("0")

        return enter

    @property
    def running(self) -> bool:
        """Whether it is powered."""
        return self.process is not None and self.process.poll() is None

    def keep_up(self) -> None:
        """Start it again if it asks for a reboot."""
        if self.wanted and self.process is not None and self.process.poll() == REBOOT:
            self.boot()

    def stop(self) -> None:
        """Ask it to stop; returns before it has."""
        self.wanted = False
        if self.process is not None and self.running:
            self.process.terminate()

    def pull_cord(self) -> None:
        """Kill it as a power cut would: without any notice, and nothing more is written."""
        self.wanted = False
        if self.process is None or not self.running:
            return
        (self.cgroup / "cgroup.kill").write_text("1")
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        # systemd-nspawn may end before its processes, which still hold the disk and the cgroup.
        deadline = time.monotonic() + DYING_SECONDS
        while "populated 1" in (self.cgroup / "cgroup.events").read_text() and time.monotonic() < deadline:
            time.sleep(0.005)

    def set_network(self, up: bool) -> None:
        """Connect or cut its network."""
        sh("ip", "link", "set", self._cable, "up" if up else "down")
        self.cut = not up

    def answers(self) -> bool:
        """Whether its sshd answers."""
        try:
            with socket.create_connection((self.state.address, SSH_PORT), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False


def remove_cgroup(folder: Path) -> None:
    """Remove a cgroup without processes, and all below it."""
    for parent, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            Path(parent).rmdir()
