"""systemd as programs use it: what a unit's state is, and what a service tells of itself."""

from __future__ import annotations

import os
import socket

from roles.onhost.commands import answer


def notify(message: str) -> None:
    """Tell systemd (sd_notify(3)); nothing outside of a unit that may."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(message.encode(), "\0" + address[1:] if address.startswith("@") else address)


def shown(unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit; those that systemd does not know are left out. Raises TimeoutError."""
    lines = answer("systemctl", "show", unit, f"--property={','.join(names)}").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def value(unit: str, name: str) -> str:
    """One property of a unit. Raises TimeoutError."""
    return answer("systemctl", "show", unit, f"--property={name}", "--value").strip()
