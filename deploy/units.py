"""The services that roles install: their systemd units and ports."""

from dataclasses import dataclass

from inventory.model import HostSettings
from roles.cache import rendering as cache
from roles.cache.config import FILES, KINDS, MODELS
from roles.comfyui import service as comfyui
from roles.gateway import rendering as gateway
from roles.gateway.backends import backends
from roles.lora_scripts import service as lora_scripts
from roles.rental import service as rental
from roles.trainer import rendering
from roles.webui import service

WEBUI = service.UNIT
COMFYUI = comfyui.UNIT
TENSORBOARD = rendering.TENSORBOARD.name

SERVICES = {
    "webui": WEBUI,
    "comfyui": COMFYUI,
    "lora-scripts": lora_scripts.GUI.name,
    "lora-scripts-tensorboard": lora_scripts.BOARD.name,
    "tensorboard": TENSORBOARD,
    "gateway": gateway.UNIT.name,
    "cache": cache.UNIT.name,
    "idle-stop": rental.UNIT.name,
}
"""Name of a service on the command line -> its unit."""


def training(run: str) -> str:
    return f"lora-train@{run}.service"


@dataclass(frozen=True)
class Service:
    """A service of a host: its unit and its ports."""

    name: str
    """Its name on the command line."""
    ports: tuple[int, ...]
    setting: str
    """The setting of its (first) port, or what it is there for."""
    private: bool = True
    """Whether it should listen on loopback only; `sdfleet open` leads to it."""
    waits: bool = False
    """Whether it is started only on demand."""

    @property
    def unit(self) -> str:
        return SERVICES[self.name]


def services(host: HostSettings) -> list[Service]:
    """The services of a host with these settings."""
    scripts = host.lora_scripts
    found = {
        "webui": [Service("webui", (host.webui.port,), "webui.port")],
        "comfyui": [Service("comfyui", (host.comfyui.port,), "comfyui.port")],
        "lora_scripts": [
            Service("lora-scripts", (scripts.port,), "lora_scripts.port"),
            Service("lora-scripts-tensorboard", (scripts.tensorboard_port,), "lora_scripts.tensorboard_port"),
        ],
        "trainer": [Service("tensorboard", (host.trainer.tensorboard_port,), "trainer.tensorboard_port", waits=True)],
        "gateway": [Service("gateway", _gateway_ports(host), "gateway.webui_port", private=False)],
        "cache": [Service("cache", _cache_ports(host), "cache.port", private=False)],
        "rental": [Service("idle-stop", (), "rental.idle_stop", private=False)],
    }
    if not host.gateway.enabled:
        del found["gateway"]
    if not host.rental.idle_stop:
        del found["rental"]
    return [service for role, its in found.items() if host.has(role) for service in its]


def drawing(host: HostSettings) -> str:
    """Name of the service that people draw with on a host: the WebUI, if it has both or none."""
    return next(iter(host.drawing_ports), "webui")


def _gateway_ports(host: HostSettings) -> tuple[int, ...]:
    served = backends(host.gateway, host.roles, host.webui, host.comfyui, host.lora_scripts)
    public = [each.public_port for each in served]
    return (*public, *([host.gateway.redirect_port] if host.gateway.redirect_port else []))


def _cache_ports(host: HostSettings) -> tuple[int, ...]:
    kinds = [kind for kind in KINDS if getattr(host.direct, kind)]
    return tuple(host.cache.port_of(kind) for kind in (*kinds, FILES, MODELS))
