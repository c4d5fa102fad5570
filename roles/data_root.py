"""Where the data root may lie: where services see it, and not on a rented container's small system disk."""

import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath

from roles.onhost.provider import DISKS

HOMES = ("home", "root")
"""Folders below / that systemd hides from services (ProtectHome)."""
MOUNTED = "/srv/sdfleet"
"""Where a folder below these can be mounted, so that services see it."""
SYSTEM_DISK = "/"


def is_hidden(root: PurePosixPath) -> bool:
    """Whether services that systemd runs cannot see this data root."""
    return root.parts[1] in HOMES


def hidden(root: PurePosixPath) -> tuple[str, str]:
    """Why such a data root is refused on a host with systemd, and what to do."""
    mount = f"mkdir -p {root} {MOUNTED} && echo '{root} {MOUNTED} none bind' >>/etc/fstab && mount {MOUNTED}"
    return (
        f"{str(root)!r} is hidden from the services of a host with systemd (ProtectHome)",
        f'write "{MOUNTED}" instead, and run once on each host, as root: {mount}',
    )


def way(root: PurePosixPath) -> list[PurePosixPath]:
    """The folders that lead to a data root, from the top."""
    return list(reversed(root.parents))[1:]


def opening(folder: PurePosixPath, root: PurePosixPath) -> str:
    """The shell command that lets services pass through a folder on the way to the data root, if they cannot.

    They may not list it. What lies beside the way was closed to them by the folder, and is closed by itself from then
    on; what is on a read-only disk cannot be.
    """
    place, step = shlex.quote(str(folder)), shlex.quote(root.relative_to(folder).parts[0])
    is_open = f'[ -n "$(find {place} -maxdepth 0 -perm -o=x)" ]'
    close = f"find {place} -mindepth 1 -maxdepth 1 ! -name {step} ! -type l -writable -exec chmod o-rwx {{}} +"
    return f"[ ! -d {place} ] || {is_open} || {{ {close} && chmod o+x {place}; }}"


def better_root(provider: str, root: PurePosixPath, mounts: Mapping[str, str]) -> str:
    """The data root to set instead of one on the system disk; empty if it is not there, or there is no data disk.

    + provider: name of the host's provider, empty for none
    + mounts: mount point of the disk that has the data root, and of that which has the provider's place for data
    """
    disk = DISKS.get(provider, "")
    apart = disk and mounts.get(str(root)) == SYSTEM_DISK != mounts.get(disk, SYSTEM_DISK)
    return f"{disk}/sdfleet" if apart else ""


def on_system_disk(provider: str, root: PurePosixPath, better: str) -> tuple[str, str]:
    """What is said of a data root on the system disk, and what to do."""
    return (
        f"{root} is on the system disk of a container of {provider}",
        f'write data_root = "{better}", on its data disk',
    )
