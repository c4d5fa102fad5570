"""The services of a host behind the gateway."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Protocol

from roles.gateway.config import Gateway


class Served(Protocol):
    """The settings of the WebUI, or of ComfyUI, that the gateway uses."""

    @property
    def port(self) -> int:
        """Loopback port."""


class ServedWithBoard(Served, Protocol):
    """lora-scripts' settings that the gateway uses."""

    @property
    def tensorboard_port(self) -> int:
        """Loopback port of its TensorBoard."""


class Reached(Protocol):
    """The connection settings that the gateway uses."""

    @property
    def address(self) -> str:
        """As in fleet.toml."""


@dataclass(frozen=True)
class Backend:
    """One service."""

    name: str
    public_port: int
    port: int
    """On loopback."""
    probe: str
    """Path that answers while the service is healthy; the answer is not passed on."""
    judges_origins: bool = False
    """Whether it refuses pages whose origin is not its own address; a provider's proxy may have changed that."""


def backends(
    gateway: Gateway, roles: Collection[str], webui: Served, comfyui: Served, lora_scripts: ServedWithBoard
) -> list[Backend]:
    """The services of a host with `roles`; where a provider opens one port alone, the first one, on that port."""
    found = []
    if "webui" in roles:
        found.append(Backend("WebUI", gateway.webui_port, webui.port, "/internal/ping"))
    if "comfyui" in roles:
        found.append(Backend("ComfyUI", gateway.comfyui_port, comfyui.port, "/system_stats", judges_origins=True))
    if "lora_scripts" in roles:
        found.append(Backend("lora-scripts", gateway.lora_scripts_port, lora_scripts.port, "/api/presets"))
        found.append(
            Backend("TensorBoard", gateway.tensorboard_port, lora_scripts.tensorboard_port, "/data/environment")
        )
    if gateway.tls == "provider":
        return [replace(first, public_port=gateway.webui_port) for first in found[:1]]
    return found
