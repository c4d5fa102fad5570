"""What process 1 of a host is."""

from collections.abc import Iterable

from pyinfra.api.facts import FactBase

INIT_COMMAND = "[ -d /run/systemd/system ] && echo systemd || echo supervisor"
"""The shell command that prints which service manager the host needs, as sd_booted(3) decides it."""


class Init(FactBase[str]):
    """systemd, or supervisor."""

    default = str

    def command(self) -> str:
        return INIT_COMMAND

    def process(self, output: Iterable[str]) -> str:
        return "".join(output).strip() or "systemd"
