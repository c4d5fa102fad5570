"""Operations of the lora-scripts role."""

from pyinfra.api.deploy import deploy as pyinfra_deploy
from pyinfra.api.exceptions import DeployError

from roles.lora_scripts.application import application
from roles.lora_scripts.config import LoraScripts
from roles.lora_scripts.release import release_of
from roles.lora_scripts.service import (
    BOARD,
    GUI,
    LINKS,
    PROGRAM,
    WATCH,
    unit_texts,
)
from roles.operations.application import ReleaseError
from roles.operations.deployment import all_folders, deploy, look, prune
from roles.operations.files import folders
from roles.operations.locks import CPU
from roles.operations.programs import remove_old_programs
from roles.operations.units import run_unit, write_units
from roles.paths import Paths


@pyinfra_deploy("lora-scripts")
def install(lora_scripts: LoraScripts, paths: Paths, build: str) -> None:
    """
    Build the release of lora-scripts beside the running one, switch to it, and switch back if its GUI does not answer.

    + lora_scripts: the role's settings
    + paths: the host's paths
    + build: torch's build for this host (cpu, cu128, ...)
    """
    try:
        release = release_of(lora_scripts, build)
    except ReleaseError as error:
        raise DeployError(str(error)) from error
    units = unit_texts(lora_scripts, paths, release, "cpu" if build == CPU else "cuda")
    app = application(lora_scripts, paths, release, units[GUI])
    beside = (LINKS, WATCH, BOARD)
    seen = look(app, paths, texts=beside, units=[unit.name for unit in beside], folders=[paths.old_programs])
    folders(name="Make folders", wanted=all_folders(app, paths), seen=seen)
    write_units({LINKS: units[LINKS]}, seen)
    run_unit("Watch for new models and datasets", WATCH, units[WATCH], seen)
    remove_old_programs([PROGRAM], paths, seen)
    deploy(app, paths, seen)
    run_unit("Run its TensorBoard", BOARD, units[BOARD], seen)
    prune(app, paths, seen)
