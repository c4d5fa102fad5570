"""GPUs and driver of a host, read in one round trip."""

from collections.abc import Iterable

from pyinfra.api.facts import FactBase

from roles.facts.gpu_probe import parse_probe, probe_command
from roles.facts.gpu_state import HostGpus


class Gpus(FactBase[HostGpus]):
    """The host's GPUs and driver."""

    default = HostGpus

    def command(self) -> str:
        return probe_command()

    def process(self, output: Iterable[str]) -> HostGpus:
        return parse_probe(output)
