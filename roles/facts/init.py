"""What process 1 of a host is."""

from collections.abc import Iterable

from pyinfra.api.facts import FactBase

INIT_COMMAND = "[ -d /run/systemd/system ] && echo systemd || echo supervisor"
"""The shell command that prints which service manager the host needs, as sd_booted(3) decides it."""


def needed_manager(said: str) -> str:
    """systemd or supervisor, by what INIT_COMMAND printed; systemd where that tells nothing."""
    return "supervisor" if said.strip() == "supervisor" else "systemd"


class Init(FactBase[str]):
    """systemd, or supervisor."""

    @staticmethod
    def default() -> str:
        return needed_manager("")

    def command(self) -> str:
        return INIT_COMMAND

    def process(self, output: Iterable[str]) -> str:
        return needed_manager("".join(output))
