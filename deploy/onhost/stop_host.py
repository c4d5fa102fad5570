"""Stop a host, and its bill, when a run has ended. Runs on the host; see the package's docstring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from roles.onhost import host_stop, host_use, provider


def main(command: str, root: str, ports: dict[str, int], stop: bool) -> dict[str, Any]:
    """Look whether the host can be stopped, and with `stop` do so.

    `provider` is its name, `command` what stops the host, empty if that is not known. Without `stop`, `missing` is the
    program that the command needs and the host does not have. With it, `used` says what uses the host, or may do so,
    and `failed` why the command failed: it is stopping if both are empty.

    + command: the setting; auto for the provider's
    + root: the data root
    + ports: of the services that draw, by role; of those that the host has
    """
    name = provider.provider()
    command = provider.stop_command(command, name)
    missing = "" if stop else host_stop.missing(command)
    told: dict[str, Any] = {"provider": name, "command": command, "missing": missing, "used": [], "failed": ""}
    if stop and command:
        sure, unsure = host_use.Use(Path(root), ports).look()
        told["used"] = [*sure, *unsure]
        told["failed"] = "" if told["used"] else host_stop.run(command)
    return told
