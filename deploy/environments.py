"""The Python environment of each application of a host, by the name of its role."""

from deploy.names import Application
from inventory.model import HostSettings
from roles.comfyui import release as comfyui
from roles.lora_scripts import release as lora_scripts
from roles.operations.application import Environment
from roles.trainer import release as trainer
from roles.webui import release as webui


def environment(host: HostSettings, role: Application, build: str) -> Environment:
    """The environment that an application of a host gets with torch's `build`. Raises ReleaseError."""
    match role:
        case Application.WEBUI:
            return webui.release_of(host.webui, build).environment
        case Application.COMFYUI:
            return comfyui.release_of(host.comfyui, build).environment
        case Application.LORA_SCRIPTS:
            return lora_scripts.release_of(host.lora_scripts, build).environment
        case Application.TRAINER:
            return trainer.trainer_release(host.trainer, build).environment


def possible_builds(host: HostSettings, role: Application) -> tuple[str, ...]:
    """Every torch build that an application of a host may get. Raises ReleaseError."""
    match role:
        case Application.WEBUI:
            return webui.locks(host.webui).builds()
        case Application.COMFYUI:
            return comfyui.locks(host.comfyui).builds()
        case Application.LORA_SCRIPTS:
            return lora_scripts.locks(host.lora_scripts).builds()
        case Application.TRAINER:
            return trainer.locks(host.trainer).builds()
