"""A rented container as the supervisor sees it: a host without systemd, by a start script, password and small disk."""

import hashlib
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import ClassVar

from lab.hosts import SHARED_CORES, Host, sh
from lab.providers import PROVIDERS, Provider
from lab.standin_container import script
from lab.state import HostState

ROOT_SIZE = "3G"
"""Limit of all that it writes to its root file system. AutoDL's has 30 GB and RunPod's 5, with a larger image on it."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

NOT_IN_DOCKER = (
    "audit_control,ipc_owner,lease,linux_immutable,mac_admin,mac_override,net_admin,net_broadcast,sys_admin,sys_boot,"
    "sys_nice,sys_pacct,sys_ptrace,sys_rawio,sys_resource,sys_time,sys_tty_config"
)
"""Capabilities that systemd-nspawn may give and Docker by default does not."""
BLOCKED = "~mount umount2 pivot_root unshare setns"
"""System calls that Docker's default filter refuses without CAP_SYS_ADMIN."""
SSHD = "PermitRootLogin yes\nPasswordAuthentication yes\n"
SFTP = ("usr/lib/openssh/sftp-server", "usr/bin/sftp", "usr/bin/scp")


def data_of(layer: Path) -> Path:
    """The data disk that was kept with a container's layer."""
    return layer.with_name(f"{layer.name}.data")


@dataclass
class Container(Host):
    """One container of a lab; only for the supervisor."""

    settings: ClassVar[Mapping[str, str]] = {"SYSTEMD_NSPAWN_TMPFS_TMP": "0"}
    rootfs: Path | None = field(default=None, repr=False)
    layer: Path | None = field(default=None, repr=False)
    everyone: tuple[HostState, ...] = field(default=(), repr=False)

    @property
    def provider(self) -> Provider:
        """What it imitates."""
        assert self.state.rented
        return PROVIDERS[self.state.rented.provider]

    @property
    def identity(self) -> str:
        """Twelve hexadecimal digits, as providers number their containers."""
        return hashlib.sha256(str(self.cgroup).encode()).hexdigest()[:12]

    @property
    def disk(self) -> Path:
        """A tmpfs: a size limit that needs neither loop devices nor quotas."""
        return self.folder / "disk"

    @property
    def run(self) -> Path:
        """Its /run, which in Docker is part of the root file system: the files of dead processes stay."""
        return self.disk / "run"

    @property
    def data(self) -> Path:
        """The folder that is its data disk."""
        return self.folder / "data"

    def mount(self, rootfs: Path, layer: Path | None) -> None:
        """Mount its root file system, limited to ROOT_SIZE, over `rootfs` or `layer`."""
        self.rootfs, self.layer = rootfs, layer
        self.disk.mkdir(parents=True, exist_ok=True)
        if not self.data.is_dir():
            self._make_data(data_of(layer) if layer else None)
        sh("mount", "-t", "tmpfs", "-o", f"mode=0755,size={ROOT_SIZE}", "sdfleet-lab", self.disk)
        # systemd-nspawn expects a mount of its own here.
        (self.run / "host").mkdir(parents=True)
        sh("mount", "-t", "tmpfs", "sdfleet-lab", self.run / "host")
        super().mount(rootfs, layer)

    def _make_data(self, kept: Path | None) -> None:
        """Make the data disk: empty, or a copy on write of one that was kept."""
        self.data.mkdir()
        if kept is None or not kept.is_dir():
            return
        upper, work = self.folder / "data-upper", self.folder / "data-work"
        for own in (upper, work):
            own.mkdir()
        options = f"lowerdir={kept},upperdir={upper},workdir={work},redirect_dir=on,volatile"
        sh("mount", "-t", "overlay", "sdfleet-lab", "-o", options, self.data)

    def keep(self) -> None:
        """Move what it wrote to its root file system out of memory, and let go of it."""
        super().unmount()
        sh("mv", "--no-target-directory", self.disk / "upper", self.folder / "upper")
        self.unmount()

    def unmount(self) -> None:
        """Unmount its disks, if they are mounted; what was written to the root file system is gone."""
        self._unmount_root()
        if self.data.is_mount():
            sh("umount", self.data)

    def _unmount_root(self) -> None:
        super().unmount()
        if self.disk.is_mount():
            sh("umount", "--recursive", self.disk)

    def write_identity(self, everyone: Iterable[HostState]) -> None:
        """Write what the provider puts into the image and into the running container."""
        self.everyone = tuple(everyone)
        self._write_names(self.everyone)
        self._write_environment()
        (self.root / "etc/hostname").write_text(f"{self.hostname}\n")
        password = self.lab.password(self.name).read_text().strip()
        login = f"root:{password}\n".encode()
        subprocess.run(["chroot", self.root, "chpasswd"], input=login, check=True)
        self._write("/.dockerenv", "")
        self._write("/etc/ssh/sshd_config.d/provider.conf", SSHD)
        assert self.state.rented
        if not self.state.rented.sftp:
            self._remove_sftp()
        for path, text in self.provider.files.items():
            self._write(path, text)
        exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in self.variables.items())
        self._write(self.provider.shell_file, exports)
        hooks = {"BEFORE": str(self.provider.before or ""), "AFTER": str(self.provider.after or "")}
        options = "set -e" if self.provider.strict else ""
        self._write(self.provider.start, script("start", OPTIONS=options, **hooks), 0o755)
        program, words = self.provider.stop
        usage = f"{program.name} {words}ID" if words else program.name
        self._write(program, script("shutdown", WORDS=words, USAGE=usage), 0o755)

    def _write(self, path: str | PurePosixPath, text: str, mode: int = 0o644) -> None:
        file = self.root / str(path).lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def _remove_sftp(self) -> None:
        config = self.root / "etc/ssh/sshd_config"
        lines = config.read_text().splitlines(keepends=True)
        config.write_text("".join(line for line in lines if not line.startswith("Subsystem")))
        for name in SFTP:
            (self.root / name).unlink(missing_ok=True)

    @property
    def hostname(self) -> str:
        """The name that it has inside."""
        return self.provider.hostname.format(id=self.identity)

    @property
    def variables(self) -> Mapping[str, str]:
        """What the provider adds to the environment, and the lab's own."""
        return {**self.provider.variables(self.identity), **SHARED_CORES}

    def boot(self) -> None:
        """Start it, with a new root file system if the provider wiped it at the stop."""
        if self.process is not None and not self.provider.keeps_root:
            self._wipe()
        super().boot()

    def _wipe(self) -> None:
        assert self.rootfs
        self._unmount_root()
        shutil.rmtree(self.root)
        self.mount(self.rootfs, self.layer)
        self.write_identity(self.everyone)

    def _kind(self) -> list[str]:
        """What makes systemd-nspawn start the start script, with as much as Docker would allow it."""
        environment = {"PATH": PATH, "HOSTNAME": self.hostname, "HOME": "/root", **self.variables}
        options = [f"--hostname={self.hostname}", "--kill-signal=SIGTERM", f"--bind={self.run}:/run"]
        options += [f"--bind={self.data}:{self.provider.disk}"]
        options += [f"--drop-capability={','.join(f'CAP_{name.upper()}' for name in NOT_IN_DOCKER.split(','))}"]
        options += [f"--system-call-filter={BLOCKED}"]
        # env: else process 1 would have systemd-nspawn's own variables too.
        clean = ["env", "-i", *(f"{key}={value}" for key, value in environment.items())]
        assert self.state.rented
        command = self.state.rented.command
        return [*options, "--", *clean, "/bin/bash", *(["-c", command] if command else [str(self.provider.start)])]
