"""What a host has, as a fact that pyinfra gathers."""

from collections.abc import Iterable

from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.facts import FactBase

from roles.models.state import Seen, command, read
from roles.paths import Paths


class StoreState(FactBase[Seen]):
    """Store, links and strangers of the models role, without reading a model."""

    default = Seen

    def command(self, paths: Paths) -> StringCommand:
        self.paths = paths
        return StringCommand("sh", "-c", QuoteString(command(paths)))

    def process(self, output: Iterable[str]) -> Seen:
        return read(output, self.paths)
