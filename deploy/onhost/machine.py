"""What the machine is and has, for programs that look at hosts. Runs there; see the package's docstring."""

from __future__ import annotations

import shutil
from pathlib import Path


def os_release() -> dict[str, str]:
    """The distribution's own description: ID, VERSION_ID, PRETTY_NAME and so on (os-release(5))."""
    lines = (line.partition("=") for line in Path("/etc/os-release").read_text().splitlines())
    return {key: value.strip('"') for key, _, value in lines}


def mount_of(place: Path) -> str:
    """Mount point of the file system that has a folder, or would have it."""
    while not place.exists() or not place.is_mount():
        place = place.parent
    return str(place)


def disk(place: Path) -> dict[str, float]:
    """Space of the file system that has a folder, or would have it, in GB."""
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    return {"free_gb": usage.free / 1e9, "total_gb": usage.total / 1e9}
