"""What a service is, whichever manager runs it: one value, from which each manager's own text is rendered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

Path = PurePosixPath | str


@dataclass(frozen=True)
class Service:
    """One service, or the template of services that differ in the name of their instance alone.

    A template's unit is called NAME@.service; `%i` in any of its texts stands for the instance.
    """

    unit: str
    """Name of its unit, with .service."""
    role: str
    """The folder of its templates."""
    description: str
    program: tuple[Path, ...]
    user: str
    """It runs as this user and its group; empty for one that its manager makes while it runs, if it can."""
    lasting_user: str = "root"
    """The user of such a service where its manager makes none."""
    foreground: tuple[Path, ...] = ()
    """Further words with which it does not go into the background, for managers that follow none there."""
    environment: Mapping[str, Path] = field(default_factory=dict)
    folder: Path = ""
    """Where it starts; the root folder if not given."""
    umask: int = 0o022

    ready: Literal["started", "notifies", "forks"] = "started"
    """When it counts as started: at once, when it says so (sd_notify), or when its first process has ended."""
    condition: tuple[Path, ...] = ()
    """Command, as its user: it is not started, and that is no failure, if this ends with another status than 0."""
    answers: tuple[Path, ...] = ()
    """Command, as its user: it is not ready before this has ended."""
    after: tuple[Path, ...] = ()
    """Command, as its user, when it has ended, however that was."""
    needs: Path = ""
    """A file without which it is not started, which is a failure."""
    wants: tuple[str, ...] = ()
    """Units that are started before it."""
    start_seconds: int = 90
    """How long it may take to be ready."""

    restart: Literal["always", "on-failure", "no"] = "no"
    restart_seconds: int = 5
    """How long it is down between its end and a restart."""
    failures: int = 5
    """Starts within `failures_seconds` after which it is given up."""
    failures_seconds: int = 10
    good_statuses: tuple[int, ...] = ()
    """Statuses besides 0 that are no failure."""

    stop_signal: Literal["TERM", "QUIT"] = "TERM"
    stop_children: bool = True
    """Whether what it started ends with it."""
    stop_seconds: int = 90
    """How long it may take to stop, until it is killed."""
    longest_seconds: int = 0
    """It is stopped after that time; 0 for never."""

    runtime_folder: str = ""
    """A folder of its own below /run, gone when it stops."""
    runtime_mode: int = 0o755
    runtime_kept: bool = False
    """Whether what is in it stays while it is restarted."""
    cache_folder: str = ""
    """A folder of its own below /var/cache, which stays."""
    credentials: Mapping[str, Path] = field(default_factory=dict)
    """Name in its folder of credentials -> the file of root's that it may read there."""
    reads: Mapping[PurePosixPath, PurePosixPath] = field(default_factory=dict)
    """Folders that it sees in another place too, but cannot write there."""
    mounts: Mapping[PurePosixPath, PurePosixPath] = field(default_factory=dict)
    """Place -> the folder that it sees and may write there."""
    writes: tuple[Path, ...] = ()
    """Folders that it may write beside those that are its own."""

    nice: int = 0
    oom_score: int = 0
    """How much sooner than others the kernel ends it where memory is short, up to 1000."""
    memory_max: str = "infinity"
    """Main memory that it may use: bytes, a share, or infinity."""
    open_files: int = 0
    """Limit of its open files; 0 for the host's own."""
    low_ports: bool = False
    """Whether it opens ports below 1024."""
    on_boot: bool = True
    """Whether it is started when the host boots."""

    marks: Mapping[str, str] = field(default_factory=dict)
    """What it must be restarted for besides: a certificate, a release, a version of its program; by what each is."""
    hardening: Mapping[str, object] = field(default_factory=dict, repr=False)
    """Values of its systemd template alone: what only the kernel under systemd can give."""

    @property
    def status(self) -> bool:
        """Whether its program tells what it is at, even if it need not say that it is ready."""
        return self.ready == "notifies" or self.is_template

    @property
    def assignments(self) -> list[str]:
        """Its environment as NAME=VALUE."""
        return [f"{name}={value}" for name, value in self.environment.items()]

    @property
    def is_template(self) -> bool:
        """Whether its unit is one of many that differ in the name of their instance."""
        return "@" in self.unit
