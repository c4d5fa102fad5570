"""Where the data root may lie: where services see it, and not on a rented container's small system disk."""

import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath

from roles.onhost.provider import DISKS
from roles.said import say

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
        say("{root!r} is hidden from the services of a host with systemd (ProtectHome)", root=str(root)),
        say('write "{root}" instead, and run once on each host, as root: {command}', root=MOUNTED, command=mount),
    )


def way(root: PurePosixPath) -> list[PurePosixPath]:
    """The folders that lead to a data root, from the top."""
    return list(reversed(root.parents))[1:]


def to_open(modes: Mapping[PurePosixPath, int]) -> list[PurePosixPath]:
    """The folders on the way that `opening` changes, in the order in which to open them: nothing is open meanwhile.

    + modes: of the folders on the way that are there, from the top
    """
    found, unlisted = [], False
    for folder, mode in modes.items():
        if not mode & 0o001 or (unlisted and mode & 0o006):
            found.append(folder)
        unlisted = unlisted or mode & 0o005 != 0o005
    return found[::-1]


def opening(folder: PurePosixPath, root: PurePosixPath) -> str:
    """The shell command that lets services pass through a folder on the way to the data root, and do no more there.

    It acts on a folder that is closed to them, and on one below a folder that they cannot list: what lies beside the
    way was closed to them by the folders above, and is closed by itself from then on; what is on a read-only disk
    cannot be.
    """
    place, step = shlex.quote(str(folder)), shlex.quote(root.relative_to(folder).parts[0])
    due = f"find {place} -maxdepth 0 ! -perm -o=x"
    if above := shlex.join(map(str, way(folder))):
        due += f"; find {above} -maxdepth 0 ! -perm -o=rx -exec find {place} -maxdepth 0 -perm /o=rw \\;"
    close = f"find {place} -mindepth 1 -maxdepth 1 ! -name {step} ! -type l -writable -exec chmod o-rwx {{}} +"
    return f'{{ [ ! -d {place} ] || [ -z "$({due})" ] || {{ {close} && chmod o-rw,o+x {place}; }}; }}'


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
        say("{root} is on the system disk of a container of {provider}", root=root, provider=provider),
        say('write data_root = "{better}", on its data disk', better=better),
    )
