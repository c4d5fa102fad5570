"""GPUs and driver of a host, read in one round trip."""

from collections.abc import Iterable

from pyinfra.api.facts import FactBase

from roles.facts.gpu_probe import probe_command, read
from roles.facts.gpu_state import HostGpus


class Gpus(FactBase[HostGpus]):
    """What is known of the host's GPUs and driver."""

    default = HostGpus

    def command(self) -> str:
        """One program that only reads."""
        return probe_command()

    def process(self, output: Iterable[str]) -> HostGpus:
        """Its answer, typed."""
        return read(output)
