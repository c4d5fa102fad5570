"""Names that the command line knows before anything is read: services, applications, the fleet's file."""

from enum import StrEnum
from pathlib import Path

DEFAULT_FILE = Path("fleet.toml")
SERVICES = (
    "webui",
    "comfyui",
    "lora-scripts",
    "lora-scripts-tensorboard",
    "tensorboard",
    "gateway",
    "cache",
    "idle-stop",
)
"""Names of services on the command line; deploy/units.py has their units."""


class Application(StrEnum):
    """An application with its own environment and releases, by the name of its role."""

    WEBUI = "webui"
    COMFYUI = "comfyui"
    LORA_SCRIPTS = "lora_scripts"
    TRAINER = "trainer"


APPS = tuple(each.value for each in Application)
