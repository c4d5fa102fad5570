"""The files of a lab, and its record between commands."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from inventory.files import state_folder
from lab.files import delete, locked

DEFAULT_NAME = "default"
PROC = Path("/proc")
ProviderName = Literal["autodl", "runpod", "vast"]


def cache_folder() -> Path:
    """The shared cache, which may be deleted at any time: root file systems, downloads, locks."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sdfleet/lab"


def labs_folder() -> Path:
    """The parent folder of all labs."""
    return state_folder() / "lab"


def default_folder() -> Path:
    """The folder of the lab for `sdfleet lab`: $SDFLEET_LAB, or the user's default lab."""
    chosen = os.environ.get("SDFLEET_LAB")
    return Path(chosen).absolute() if chosen else labs_folder() / DEFAULT_NAME


class Frozen(BaseModel):
    """A record that is written as JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Process(Frozen):
    """A process, distinguished from a later one with the same id."""

    pid: int
    started: int
    """Clock ticks between boot and its start, field 22 of /proc/PID/stat."""
    boot: str
    """The machine's boot id: ticks start again at each boot."""

    @classmethod
    def of(cls, pid: int) -> Self:
        """The current process with id `pid`. Raises ProcessLookupError if there is none."""
        try:
            # The second field is the program's name in brackets and may contain anything, so count after it.
            fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError as error:
            raise ProcessLookupError(f"no process {pid}") from error
        return cls(pid=pid, started=int(fields[19]), boot=_boot_id())

    @property
    def alive(self) -> bool:
        """Whether this process still runs."""
        try:
            return Process.of(self.pid) == self
        except ProcessLookupError:
            return False

    def signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            if self.alive:
                os.kill(self.pid, number)


def _boot_id() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


class Rented(Frozen):
    """How a container is rented; `lab.providers` says what each provider's is like."""

    provider: ProviderName
    sftp: bool = True
    """Whether its sshd offers sftp; the SSH of some providers' proxies does not."""
    command: str = ""
    """The start command of the provider's page, for a shell; empty for the image's own."""


class HostState(Frozen):
    """One host, as seen from outside."""

    name: str
    address: str
    """On the lab's network."""
    port: int
    """On the machine's loopback; forwarded to the host's sshd."""
    rented: Rented | None = None
    """None for a host with systemd, else what kind of container it is."""


class Service(Frozen):
    """A program that runs inside the lab's network as long as the lab."""

    name: str
    command: tuple[str, ...]
    port: int
    """On the gateway's address; the lab is up when it answers there, and it is forwarded from loopback."""


class State(Frozen):
    """All that is needed to use a running lab, or to clean up after a killed one."""

    # Records of a later sdfleet on the same machine may have more fields.
    model_config = ConfigDict(frozen=True, extra="ignore")

    owner: Process
    """The process that started it."""
    release: str = "bookworm"
    """Debian release of the hosts."""
    rootfs: Path
    container_rootfs: Path | None = None
    """Root file system of the containers; None without any."""
    layers: tuple[Path, ...] = ()
    """The layer between each host's own disk and the root file system, hosts with systemd first; none if bare."""
    cgroup: str
    """Name of its folder in the cgroup2 file system."""
    hosts: tuple[HostState, ...]
    packages_port: int
    """The package proxy's port on the machine's loopback."""
    services: tuple[Service, ...] = ()
    service_ports: tuple[int, ...] = ()
    """Service -> port on the machine's loopback that is forwarded to it."""
    gpu_builds: bool = False
    """Whether its package index offers torch's builds for GPUs, too."""
    supervisor: Process | None = None
    """None until it runs."""

    @property
    def alive(self) -> bool:
        """Whether this lab still runs or starts."""
        return self.supervisor.alive if self.supervisor else self.owner.alive


@dataclass(frozen=True)
class LabFolder:
    """The files of one lab."""

    path: Path

    @property
    def state_file(self) -> Path:
        """The record of the lab; there is none when it is down."""
        return self.path / "state.json"

    @property
    def control(self) -> Path:
        """Unix socket on which the supervisor takes orders."""
        return self.path / "control.sock"

    @property
    def ending(self) -> bool:
        """Whether a lab that is still alive takes no orders any more, because it was told to stop."""
        return not self.control.exists()

    def end(self) -> None:
        """Note that the lab takes no more orders."""
        self.control.unlink(missing_ok=True)

    @property
    def hosts(self) -> Path:
        """File systems of the hosts."""
        return self.path / "hosts"

    @property
    def keys(self) -> Path:
        """SSH keys: the user's, and one a host."""
        return self.path / "keys"

    @property
    def user_key(self) -> Path:
        """Private key for root on every host."""
        return self.keys / "user"

    def password(self, container: str) -> Path:
        """File with the password of root in a container."""
        return self.keys / f"{container}.password"

    def askpass(self, container: str) -> Path:
        """Program that gives OpenSSH that password."""
        return self.keys / f"{container}.askpass"

    @property
    def known_hosts(self) -> Path:
        """Keys of the hosts, under loopback ports as well as under lab addresses; containers make their own."""
        return self.path / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """OpenSSH configuration: `ssh -F FILE h1`."""
        return self.path / "ssh_config"

    @property
    def fleet(self) -> Path:
        """The lab's fleet.toml."""
        return self.path / "fleet.toml"

    @property
    def upstreams(self) -> Path:
        """Content of the stand-in upstreams."""
        return self.path / "upstreams"

    @property
    def logs(self) -> Path:
        """Consoles of the hosts and logs of the lab's own programs; kept after `down`."""
        return self.path / "logs"

    @property
    def supervisor_log(self) -> Path:
        """The supervisor's log."""
        return self.logs / "supervisor.log"

    def clear(self) -> None:
        """Delete everything except the logs; nothing may be mounted below `hosts` any more."""
        for folder in (self.hosts, self.keys, self.upstreams):
            delete(folder)
        # fleet.lock too: it would pin the next lab to commits that another version of the stand-ins had.
        locks = (self.fleet.with_suffix(".lock"), *self.path.glob("*.lock.txt"))
        for file in (self.control, self.known_hosts, self.ssh_config, self.fleet, *locks, self.state_file):
            file.unlink(missing_ok=True)

    def read(self) -> State | None:
        """The lab's record; None if there is none, or if it cannot be read because another version wrote it."""
        try:
            return State.model_validate_json(self.state_file.read_text())
        except (FileNotFoundError, NotADirectoryError, ValidationError):
            return None

    def write(self, state: State) -> None:
        """Write `state` atomically."""
        part = self.state_file.with_suffix(".part")
        part.write_text(state.model_dump_json(indent=2))
        part.replace(self.state_file)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make other starts and stops of labs wait."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self.path.parent / ".lock"):
            yield
