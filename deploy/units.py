"""Names of the systemd units that roles install."""

from roles.cache import rendering as cache
from roles.gateway import rendering as gateway
from roles.lora_scripts import service as lora_scripts
from roles.trainer import rendering
from roles.webui import service

WEBUI = service.UNIT
WEBUI_STATE = service.STATE
TENSORBOARD = rendering.TENSORBOARD.name

SERVICES = {
    "webui": WEBUI,
    "lora-scripts": lora_scripts.GUI.name,
    "lora-scripts-tensorboard": lora_scripts.BOARD.name,
    "tensorboard": TENSORBOARD,
    "gateway": gateway.UNIT.name,
    "cache": cache.UNIT.name,
}
"""Name of a service on the command line -> its unit."""


def training(run: str) -> str:
    return f"lora-train@{run}.service"
