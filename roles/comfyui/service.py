"""ComfyUI's unit, and the file that tells it where the fleet's models are, as text."""

import hashlib
from pathlib import PurePosixPath

from roles import drawing, egress
from roles.accounts import COMFYUI
from roles.comfyui.config import Comfyui
from roles.comfyui.flags import FLAGS
from roles.comfyui.release import CUSTOM_NODES
from roles.drawing import Drawing
from roles.managers import Manager
from roles.onhost import comfyui_api
from roles.operations.application import Release
from roles.operations.locks import Device
from roles.paths import Paths

UNIT = comfyui_api.UNIT
PROGRAM = "comfyui_service"
STATE = drawing.state_file(UNIT)

FOLDERS = {
    "checkpoints": ("models/Stable-diffusion",),
    "configs": ("models/Stable-diffusion",),
    "loras": ("models/Lora",),
    "vae": ("models/VAE",),
    "embeddings": ("embeddings",),
    "hypernetworks": ("models/hypernetworks",),
    "controlnet": ("models/ControlNet",),
    "upscale_models": ("models/ESRGAN", "models/RealESRGAN", "models/SwinIR"),
    "vae_approx": ("models/VAE-approx",),
    "clip_vision": ("models/clip_vision",),
    "text_encoders": ("models/text_encoder",),
    "diffusion_models": ("models/diffusion_models",),
}
"""ComfyUI's kind of models -> folders below the WebUI's data folder, into which the models role links."""


def launch_arguments(comfyui: Comfyui, paths: Paths, device: Device) -> list[str]:
    """Arguments of main.py without the port, which the runner chooses."""
    data = paths.data("comfyui")
    arguments = ["--listen", "127.0.0.1", "--disable-auto-launch", "--base-directory", str(data)]
    arguments += ["--database-url", f"sqlite:///{data}/user/comfyui.db"]
    arguments += ["--extra-model-paths-config", str(folders_file(paths))]
    if egress.ANY not in comfyui.egress:
        arguments.append("--disable-api-nodes")
    if device == "cpu":
        arguments.append("--cpu")
    return [*arguments, *FLAGS.arguments(comfyui.flags), *comfyui.extra_arguments]


def folders_file(paths: Paths) -> PurePosixPath:
    """The file with the folders of models and custom nodes.

    It is named by its content, so that after a rollback the earlier unit finds its own.
    """
    digest = hashlib.sha256(folders_text(paths).encode()).hexdigest()[:12]
    return paths.app("comfyui") / f"folders-{digest}.yaml"


def folders_text(paths: Paths) -> str:
    """Its content."""
    lines = ["sdfleet:", f"  base_path: {paths.data('webui')}"]
    for kind, places in FOLDERS.items():
        lines += [f"  {kind}: |", *(f"    {place}" for place in places)]
    nodes = paths.current("comfyui") / CUSTOM_NODES
    return "\n".join([*lines, "sdfleet_nodes:", f"  custom_nodes: {nodes}"]) + "\n"


def unit_text(comfyui: Comfyui, paths: Paths, release: Release, device: Device, manager: Manager) -> str:
    """The file that describes the service to a host's service manager."""
    service = Drawing(
        UNIT,
        PROGRAM,
        "ComfyUI (sdfleet)",
        COMFYUI,
        comfyui.port,
        comfyui.start_timeout,
        comfyui.egress,
        release,
        device,
        drawing.environment(UNIT, paths.data("comfyui"), paths),
        launch_arguments(comfyui, paths, device),
    )
    return service.text(paths, manager)
