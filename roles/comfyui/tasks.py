"""Operations of the ComfyUI role."""

from pathlib import PurePosixPath

from pyinfra.api.deploy import deploy as pyinfra_deploy

from roles.accounts import COMFYUI
from roles.comfyui.application import application
from roles.comfyui.config import Comfyui
from roles.comfyui.release import release_of
from roles.comfyui.service import STATE, unit_text
from roles.drawing import runs_as_wanted
from roles.managers import Manager
from roles.operations.deployment import all_folders, deploy, look, prune
from roles.operations.files import folders
from roles.operations.locks import device_of
from roles.paths import Paths


@pyinfra_deploy("ComfyUI")
def install(comfyui: Comfyui, paths: Paths, build: str, manager: Manager) -> None:
    """
    Build ComfyUI's release beside the running one, switch to it, and switch back if it does not draw a picture.

    + comfyui: the role's settings
    + paths: the host's paths
    + build: torch's build for this host (cpu, cu128, ...)
    + manager: the host's service manager
    """
    release = release_of(comfyui, build)
    text = unit_text(comfyui, paths, release, device_of(build), manager)
    app = application(comfyui, paths, release, text, manager)
    seen = look(app, paths, written_by={PurePosixPath(STATE): COMFYUI})
    folders(name="Make folders", wanted=all_folders(app, paths), seen=seen)
    deploy(app, paths, seen, as_wanted=runs_as_wanted(seen.text(STATE), text))
    prune(app, paths, seen)
