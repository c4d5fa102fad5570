"""What process 1 of this host is."""

from __future__ import annotations

from pathlib import Path

BOOTED = Path("/run/systemd/system")
"""A folder that is there only where systemd is process 1, as sd_booted(3) says; its package alone may be anywhere."""


def is_systemd() -> bool:
    """Whether process 1 is systemd."""
    return BOOTED.is_dir()
