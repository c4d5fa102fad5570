"""The services of a host that the gateway stands in front of."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from roles.gateway.config import Gateway


class Served(Protocol):
    """What the gateway needs to know of the WebUI's settings."""

    @property
    def port(self) -> int:
        """Loopback port."""


class ServedWithBoard(Served, Protocol):
    """The same of lora-scripts' settings."""

    @property
    def tensorboard_port(self) -> int:
        """Loopback port of its TensorBoard."""


class Reached(Protocol):
    """What the gateway needs to know of how a host is reached."""

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
    """Path that answers while the service is well; what it says is shown to nobody."""


def backends(gateway: Gateway, roles: Collection[str], webui: Served, lora_scripts: ServedWithBoard) -> list[Backend]:
    """Those of a host that plays `roles`."""
    found = []
    if "webui" in roles:
        found.append(Backend("WebUI", gateway.webui_port, webui.port, "/internal/ping"))
    if "lora_scripts" in roles:
        found.append(Backend("lora-scripts", gateway.lora_scripts_port, lora_scripts.port, "/api/presets"))
        found.append(
            Backend("TensorBoard", gateway.tensorboard_port, lora_scripts.tensorboard_port, "/data/environment")
        )
    return found
