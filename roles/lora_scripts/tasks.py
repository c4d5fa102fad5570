"""Operations of the lora-scripts role."""

from pyinfra.api.deploy import deploy as pyinfra_deploy

from roles.lora_scripts.application import application
from roles.lora_scripts.config import LoraScripts
from roles.lora_scripts.release import release_of
from roles.lora_scripts.service import (
    BOARD,
    GUI,
    LINKS,
    PROGRAM,
    unit_texts,
    watching,
)
from roles.managers import Manager
from roles.operations.deployment import all_folders, deploy, look, prune
from roles.operations.files import folders
from roles.operations.locks import device_of
from roles.operations.programs import remove_old_programs
from roles.operations.units import run_unit, write_units
from roles.paths import Paths


@pyinfra_deploy("lora-scripts")
def install(lora_scripts: LoraScripts, paths: Paths, build: str, manager: Manager) -> None:
    """
    Build the release of lora-scripts beside the running one, switch to it, and switch back if its GUI does not answer.

    + lora_scripts: the role's settings
    + paths: the host's paths
    + build: torch's build for this host (cpu, cu128, ...)
    + manager: the host's service manager
    """
    release = release_of(lora_scripts, build)
    units = unit_texts(lora_scripts, paths, release, device_of(build), manager)
    gui, links, board = (manager.file(unit.name) for unit in (GUI, LINKS, BOARD))
    watch = manager.file(watching(manager).name)
    app = application(lora_scripts, paths, release, units[gui], manager)
    beside = tuple(dict.fromkeys((links, watch, board)))
    seen = look(app, paths, texts=beside, units=[unit.name for unit in beside], folders=[paths.old_programs])
    folders(name="Make folders", wanted=all_folders(app, paths), seen=seen)
    if links != watch:
        write_units({links: units[links]}, seen, manager)
    run_unit("Watch for new models and datasets", watch, units[watch], seen, manager)
    remove_old_programs([PROGRAM], paths, seen)
    deploy(app, paths, seen)
    run_unit("Run its TensorBoard", board, units[board], seen, manager)
    prune(app, paths, seen)
