"""The root file system of all hosts: built once per list of packages, then read-only."""

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from inventory.errors import SdfleetError
from lab.state import cache_folder, locked

SUITE = "bookworm"
ARCHIVES = {"debian": "http://deb.debian.org/debian", "debian-security": "http://security.debian.org/debian-security"}
"""Its Debian archives, by their usual path on a mirror; the lab's apt proxy downloads from nowhere else."""

SOURCES = f"""\
deb {ARCHIVES["debian"]} {SUITE} main
deb {ARCHIVES["debian"]} {SUITE}-updates main
deb {ARCHIVES["debian-security"]} {SUITE}-security main
"""

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

MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "fstrim.timer")
"""They would take apt's lock, or use the disk, at unpredictable times."""

REVISION = 1
"""Increase it when `_finish` changes, so that cached trees are rebuilt."""

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


def ensure(say: Callable[[str], None] = lambda text: None) -> Path:
    """Folder of the hosts' root file system; built on first use (about a minute, 330 MB).

    `say` gets a sentence when there is something to wait for.
    """
    key = hashlib.sha256(repr((SUITE, SOURCES, PACKAGES, MASKED, REVISION)).encode()).hexdigest()[:12]
    final = cache_folder() / f"rootfs-{key}"
    if final.is_dir():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with locked(final.with_suffix(".lock")):
        if not final.is_dir():
            say(f"Building the hosts' root file system once in {final} (about a minute) ...")
            _build(final)
    return final


def _build(final: Path) -> None:
    part = final.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    log = final.with_suffix(".log")
    command = [
        "mmdebstrap",
        "--variant=minbase",
        "--mode=root",
        f"--include={','.join(PACKAGES)}",
        *_apt_proxy_option(),
        SUITE,
        str(part),
        "-",
    ]
    with log.open("wb") as output:
        done = subprocess.run(
            command, input=SOURCES.encode(), stdout=output, stderr=subprocess.STDOUT, check=False, env=environment()
        )
    if done.returncode:
        shutil.rmtree(part, ignore_errors=True)
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        raise SdfleetError(f"mmdebstrap could not build {final}:\n{tail}\nThe whole log: {log}")
    _finish(part)
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
    for unit in MASKED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    # There is no DNS in the lab; with an empty file a lookup fails at once instead of timing out.
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").touch()
