"""Operations of the lora-scripts role."""

import shlex
from collections.abc import Sequence

from pyinfra.api.deploy import deploy as pyinfra_deploy
from pyinfra.api.exceptions import DeployError

from roles.accounts import LORA_SCRIPTS, SHARED
from roles.lora_scripts.config import LoraScripts
from roles.lora_scripts.release import release_of
from roles.lora_scripts.service import (
    BOARD,
    GUI,
    LINKS,
    PROGRAM,
    SETTINGS,
    SHOWN,
    WATCH,
    WRITTEN,
    shown_models,
    unit_texts,
)
from roles.onhost import source
from roles.operations.application import CODE, Application, Release, ReleaseError
from roles.operations.deployment import all_folders, deploy, look, prune
from roles.operations.files import folders, programs
from roles.operations.locks import CPU
from roles.operations.units import run_unit, write_units
from roles.paths import Folder, Paths


@pyinfra_deploy("lora-scripts")
def install(lora_scripts: LoraScripts, paths: Paths, build: str) -> None:
    """
    Build the release of lora-scripts beside the running one, switch to it, and go back if its GUI does not answer.

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
    shows = paths.programs / f"{PROGRAM}.py"
    beside = (LINKS, WATCH, BOARD)
    seen = look(app, paths, texts=[shows, *beside], units=[unit.name for unit in beside])
    folders(name="Make folders", wanted=all_folders(app, paths), seen=seen)
    programs(name="Put the program that shows it models", texts={shows: source(PROGRAM)}, seen=seen)
    write_units({unit: units[unit] for unit in (LINKS, WATCH)}, seen)
    run_unit("Watch for new models and datasets", WATCH, units[WATCH], seen)
    deploy(app, paths, seen)
    write_units({BOARD: units[BOARD]}, seen)
    run_unit("Run its TensorBoard", BOARD, units[BOARD], seen)
    prune(app, paths, seen)


def application(lora_scripts: LoraScripts, paths: Paths, release: Release, unit_text: str) -> Application:
    """lora-scripts, served by its GUI's unit."""
    return Application(
        "lora_scripts",
        release.id,
        release.manifest(),
        release.environment,
        lora_scripts.keep_releases,
        trees=release.trees,
        finish=finishing(paths, release),
        folders=wanted_folders(paths),
        unit=GUI,
        unit_text=unit_text,
    )


def wanted_folders(paths: Paths) -> list[Folder]:
    """What the GUI writes is its group's to write, and root's to name: systemd mounts these folders, and a link in the
    place of one would open another to the GUI."""
    data = paths.data("lora_scripts")
    written = [Folder(data / name, "root", LORA_SCRIPTS, SHARED) for name in (*WRITTEN.values(), "cache", "tmp")]
    return [Folder(shown_models(paths)), Folder(paths.runs), *written]


def finishing(paths: Paths, release: Release) -> Sequence[str]:
    """Commands that complete a release in its building folder; the last fails unless every submodule is in place."""
    env, settings = (
        shlex.quote(str(path))
        for path in (release.environment.folder(paths), paths.data("lora_scripts") / "config.json")
    )
    places = " ".join(shlex.quote(str(CODE / place)) for place in (*WRITTEN, SHOWN))
    return [
        f"mkdir -p {places} && ln -sfn {settings} {CODE}/{SETTINGS} && ln -sfn {env} env",
        f"! git -C {CODE} submodule status --recursive | grep '^[^ ]' >&2",
    ]
