"""The provider of a rented container, for apply."""

from collections.abc import Iterable

from pyinfra.api.facts import FactBase

from roles.rental.provider import asked, told


class Provider(FactBase[str]):
    """Its name; empty if it is none that is known."""

    default = str

    def command(self) -> str:
        return asked()

    def process(self, output: Iterable[str]) -> str:
        return told(output)
