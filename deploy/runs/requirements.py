"""What a run needs: GPUs, memory, what to do about the WebUI, and the other hosts that share it."""

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
    from training.memory.counted import MIB

    return round(estimate.memory(config, estimate.likely_family(config)).card / MIB)


def turn(config: "Config", host: HostSettings, hosts: Sequence[HostSettings]) -> dict[str, Any]:
    """The turn.json of a run on `host`, one of `hosts` that share it, for roles/onhost/training_turn.py."""
    webui = None
    if host.has("webui") and host.webui.device != "cpu":
        policy = host.trainer.beside_webui
        webui = {"policy": policy, "unit": units.WEBUI, "port": host.webui.port, "gpu": host.webui.gpu}
    return {
        "device": config.train.device,
        "gpus": config.resources.gpus,
        "memory_mb": memory_mb(config),
        "allowed": host.trainer.gpus,
        "webui": webui,
        "nodes": nodes(host, hosts),
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
