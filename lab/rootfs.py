"""The root file systems of hosts and containers: each is built once per list of packages, then read-only."""

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from inventory.errors import SdfleetError
from lab.files import locked
from lab.state import cache_folder

CHOICE = "SDFLEET_LAB_RELEASE"
"""The environment variable that names another release than the first."""
ARCHIVES = {"debian": "http://deb.debian.org/debian", "debian-security": "http://security.debian.org/debian-security"}
"""Its Debian archives, by their usual path on a mirror; the lab's apt proxy downloads from nowhere else."""

PACKAGES = (
    "ca-certificates",
    "curl",
    "dbus",
    "git",
    "iproute2",
    "iputils-ping",
    "libnss-systemd",
    "libpam-systemd",
    "openssh-server",
    "python3",
    "python3-venv",
    "sudo",
    "systemd",
    "systemd-sysv",
)
"""About the packages of a rented server's image."""

CONTAINER_PACKAGES = (
    "ca-certificates",
    "curl",
    "git",
    "iproute2",
    "iputils-ping",
    "openssh-server",
    "procps",
    "python3",
    "python3-venv",
)
"""About the packages of a rented container's image: neither systemd nor dbus, sudo, supervisor or rsync."""

MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "fstrim.timer")
"""They would take apt's lock, or use the disk, at unpredictable times."""

REVISION = 1
"""Increase it when `_finish` changes, so that cached trees are rebuilt."""
OLDER_PYTHON = ("bookworm", ("python3.11",))
"""Packages of Debian 12 that images of later releases get too: the environments of the lab's fleet are for this Python,
for which many machines have a CPU build of torch, and hosts of the lab cannot reach the builds that uv downloads."""


class Release(StrEnum):
    """Debian 12 and 13."""

    BOOKWORM = "bookworm"
    TRIXIE = "trixie"


def default_release() -> str:
    """The release of labs that name none. Raises SdfleetError if $SDFLEET_LAB_RELEASE is not a `Release`."""
    release = os.environ.get(CHOICE, Release.BOOKWORM)
    if release not in list(Release):
        raise SdfleetError(f"{CHOICE}={release}: the lab has {' and '.join(Release)}")
    return str(release)


@dataclass(frozen=True)
class Image:
    """What a root file system is made of."""

    release: str = field(default_factory=default_release)
    packages: tuple[str, ...] = PACKAGES

    @property
    def sources(self) -> str:
        """Its apt sources."""
        return _sources(self.release)

    @property
    def build_sources(self) -> str:
        """The apt sources that it is built from."""
        older, _ = OLDER_PYTHON
        return self.sources if self.release == older else self.sources + _sources(older)

    @property
    def included(self) -> tuple[str, ...]:
        """All packages that are named."""
        older, python = OLDER_PYTHON
        return self.packages if self.release == older else (*self.packages, *python)

    @property
    def folder(self) -> Path:
        """Where it is, or will be, in the cache folder."""
        made_of = repr((self.release, self.build_sources, self.included, MASKED, REVISION))
        return cache_folder() / f"rootfs-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}"


def _sources(release: str) -> str:
    return (
        f"deb {ARCHIVES['debian']} {release} main\n"
        f"deb {ARCHIVES['debian']} {release}-updates main\n"
        f"deb {ARCHIVES['debian-security']} {release}-security main\n"
    )


NEEDED = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}
"""Programs of this machine that the lab uses, and their Debian packages."""


WATCHERS = Path("/proc/sys/fs/inotify/max_user_instances")
WATCHERS_WANTED = 1024


def check_machine() -> None:
    """Raise SdfleetError, with the cure, if this machine cannot run a lab."""
    path = environment()["PATH"]
    missing = sorted({package for program, package in NEEDED.items() if not shutil.which(program, path=path)})
    if missing:
        raise SdfleetError(f"the lab needs {', '.join(missing)}; run: sudo apt-get install -y {' '.join(missing)}")
    if os.geteuid() != 0:
        raise SdfleetError("the lab needs root for its namespaces; run the same command with sudo")
    _allow_watches()


def _allow_watches() -> None:
    """Raise the kernel's limit of inotify instances, until the next reboot: a host's systemd takes about nine.

    The usual 128 are used up by the fourteenth host of all labs together, which then fails to boot.
    """
    with contextlib.suppress(OSError):
        if int(WATCHERS.read_text()) < WATCHERS_WANTED:
            WATCHERS.write_text(str(WATCHERS_WANTED))


def environment() -> dict[str, str]:
    """This process's environment, with the folders of system programs on PATH: `su` and some shells omit them."""
    return os.environ | {"PATH": os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))}


def ensure(say: Callable[[str], None] = lambda text: None, image: Image = Image()) -> Path:
    """Folder of the root file system made from `image`; built on first use (about a minute, 330 MB).

    `say` gets a sentence when there is something to wait for.
    """
    final = image.folder
    if final.is_dir():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with locked(final.with_suffix(".lock")):
        if not final.is_dir():
            say(f"Building a root file system of Debian {image.release} once in {final} (about a minute) ...")
            _build(image, final)
    return final


def _build(image: Image, final: Path) -> None:
    part = final.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    log = final.with_suffix(".log")
    command = ["mmdebstrap", "--variant=minbase", "--mode=root", f"--include={','.join(image.included)}"]
    command += [*_apt_proxy_option(), image.release, str(part), "-"]
    with log.open("wb") as output:
        done = subprocess.run(
            command,
            input=image.build_sources.encode(),
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            env=environment(),
        )
    if done.returncode:
        shutil.rmtree(part, ignore_errors=True)
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        raise SdfleetError(f"mmdebstrap could not build {final}:\n{tail}\nThe whole log: {log}")
    _finish(part)
    (part / "etc/apt/sources.list").write_text(image.sources)
    part.rename(final)


def _apt_proxy_option() -> list[str]:
    proxy = machine_apt_proxy()
    return [f'--aptopt=Acquire::http::Proxy "{proxy}"'] if proxy else []


def machine_apt_proxy() -> str:
    """The proxy that this machine's own apt uses for http; empty if none."""
    command = ["apt-config", "shell", "PROXY", "Acquire::http::Proxy"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return shown.strip().removeprefix("PROXY=").strip("'")


def _finish(root: Path) -> None:
    """Prepare the tree for booting as many different hosts."""
    for unit in MASKED if (root / "etc/systemd/system").is_dir() else ():
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    # There is no DNS in the lab; with an empty file a lookup fails at once instead of timing out.
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").touch()
