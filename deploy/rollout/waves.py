"""Which hosts are updated in which wave."""

from collections.abc import Sequence

from inventory.model import HostSettings
from inventory.rollout import Rollout, share


def next_wave(waiting: Sequence[HostSettings], settings: Rollout, fleet_size: int, proven: bool) -> list[HostSettings]:
    """The hosts of `waiting` to update next.

    + fleet_size: number of hosts that percentages refer to
    + proven: whether a host has passed the gates already; if not, the wave is the canary
    """
    if not waiting:
        return []
    order = sorted(waiting, key=lambda host: _rank(host, settings))  # stable: the file's order within a group
    first = _rank(order[0], settings)
    together = [host for host in order if _rank(host, settings) == first]
    size = share(settings.batch, fleet_size) if proven else settings.canary
    return together[:size]


def all_waves(waiting: Sequence[HostSettings], settings: Rollout, fleet_size: int, proven: bool) -> list[list[str]]:
    """Names of the hosts of every wave, if no gate fails."""
    left, waves = list(waiting), list[list[str]]()
    while wave := next_wave(left, settings, fleet_size, proven or bool(waves)):
        waves.append([host.name for host in wave])
        left = [host for host in left if host not in wave]
    return waves


def _rank(host: HostSettings, settings: Rollout) -> int:
    """Position of the host's first group in fleet.rollout.groups; last if it has none of them."""
    places = [place for place, group in enumerate(settings.groups) if group in host.groups]
    return min(places, default=len(settings.groups))
