"""The state of a host's store and links, as a pyinfra fact."""

from collections.abc import Iterable

from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.facts import FactBase

from roles.models.state import StoreContents, parse_store, store_command
from roles.paths import Paths


class StoreState(FactBase[StoreContents]):
    """Store, links and unmanaged of the models role, without reading a model."""

    default = StoreContents

    def command(self, paths: Paths) -> StringCommand:
        self.paths = paths
        return StringCommand("sh", "-c", QuoteString(store_command(paths)))

    def process(self, output: Iterable[str]) -> StoreContents:
        return parse_store(output, self.paths)
