"""What a run needs of its host: GPUs, memory, the WebUI's part, and the other hosts."""

from collections.abc import Sequence
from typing import Any

from deploy import units
from inventory.model import HostSettings
from training.config import Config

UNET_MB = {"sd1": 3400, "sd2": 3400, "sdxl": 9900}
"""fp32 weights of the UNet in MiB; half in fp16 and bf16."""
ACTIVATIONS_MB = {"sd1": 2600, "sd2": 2600, "sdxl": 2400}
"""Rule of thumb for a picture of 512x512, without gradient checkpointing; nothing of this was measured on a GPU."""


def memory_mb(config: Config) -> int:
    """GPU memory that a process of the run needs, in MiB: the config's word, else an estimate."""
    if config.resources.gpu_memory_mb is not None:
        return config.resources.gpu_memory_mb
    width, height = config.data.resolution
    family = config.model.family
    if family == "auto":
        family = "sdxl" if width * height >= 900 * 900 else "sd1"
    half = 1 if config.train.precision == "fp32" else 2
    pictures = config.train.batch_size * width * height / 512**2
    activations = ACTIVATIONS_MB[family] * pictures / half * (0.35 if config.train.gradient_checkpointing else 1)
    return round(UNET_MB[family] / half + activations + 800)


def turn(config: Config, host: HostSettings, hosts: Sequence[HostSettings]) -> dict[str, Any]:
    """What roles/onhost/training_turn.py must know of the run on `host`, one of `hosts` that share it."""
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
    """The place of `host` among the hosts of a run, None if it is alone."""
    if len(hosts) < 2:
        return None
    return {
        "count": len(hosts),
        "rank": [other.name for other in hosts].index(host.name),
        "meet": f"{address(hosts[0])}:{hosts[0].trainer.meeting_port}",
        "address": address(host),
    }


def address(host: HostSettings) -> str:
    """Where other hosts reach it."""
    return host.trainer.address or host.connection.address
