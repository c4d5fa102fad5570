"""What process 1 of a host is."""

from collections.abc import Iterable

from pyinfra.api.facts import FactBase

from roles.managers import INIT_COMMAND, needed_manager


class Init(FactBase[str]):
    """systemd, or supervisor."""

    @staticmethod
    def default() -> str:
        return needed_manager("")

    def command(self) -> str:
        return INIT_COMMAND

    def process(self, output: Iterable[str]) -> str:
        return needed_manager("".join(output))
