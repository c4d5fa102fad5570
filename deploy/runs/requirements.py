"""What a run needs: GPUs, memory, what to do about what draws there, and the other hosts that share it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from deploy import units
from inventory.model import HostSettings

if TYPE_CHECKING:  # it takes long to import, and most verbs do without
    from training.config import Config


def memory_mb(config: "Config") -> int:
    """GPU memory of one process of the run, in MiB: from the config, else the trainer's estimate."""
    if config.resources.gpu_memory_mb is not None:
        return config.resources.gpu_memory_mb
    from training.memory import estimate
    from training.memory.architectures import MIB

    return round(estimate.estimate_memory(config, estimate.likely_family(config)).card / MIB)


def turn(config: "Config", host: HostSettings, hosts: Sequence[HostSettings]) -> dict[str, Any]:
    """The turn.json of a run on `host`, one of `hosts` that share it, for roles/onhost/training_turn.py."""
    return {
        "device": config.train.device,
        "gpus": config.resources.gpus,
        "memory_mb": memory_mb(config),
        "allowed": host.trainer.gpus,
        **guests(host),
        "nodes": nodes(host, hosts),
    }


def guests(host: HostSettings) -> dict[str, dict[str, Any] | None]:
    """The services that draw on a card of `host`, by role; None for one that does not."""
    policy = host.trainer.beside_webui
    return {
        role: {"policy": policy, "unit": units.SERVICES[role], "port": its.port, "gpu": its.gpu}
        if host.has(role) and its.device != "cpu"
        else None
        for role, its in (("webui", host.webui), ("comfyui", host.comfyui))
    }


def nodes(host: HostSettings, hosts: Sequence[HostSettings]) -> dict[str, Any] | None:
    """The place of `host` among the hosts of a run; None for a run on one host."""
    if len(hosts) < 2:
        return None
    return {
        "count": len(hosts),
        "rank": [other.name for other in hosts].index(host.name),
        "meet": f"{address(hosts[0])}:{hosts[0].trainer.meeting_port}",
        "address": address(host),
    }


def address(host: HostSettings) -> str:
    """The address at which other hosts reach it."""
    return host.trainer.address or host.connection.address
