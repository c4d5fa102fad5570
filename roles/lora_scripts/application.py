"""lora-scripts as an application of a host."""

import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from roles.accounts import LORA_SCRIPTS, SHARED
from roles.lora_scripts.config import LoraScripts
from roles.lora_scripts.service import GUI, SETTINGS, SHOWN, WRITTEN, shown_models
from roles.managers import Manager
from roles.operations.application import CODE, Application, Release
from roles.paths import Folder, Paths


def application(
    lora_scripts: LoraScripts, paths: Paths, release: Release, unit_text: str, manager: Manager
) -> Application:
    """lora-scripts, served by its GUI's unit."""
    return Application(
        "lora_scripts",
        release.id,
        release.manifest(),
        release.environment,
        lora_scripts.keep_releases,
        trees=release.trees,
        finish=finishing(paths, release, manager),
        folders=wanted_folders(paths),
        unit=manager.file(GUI.name),
        unit_text=unit_text,
        manager=manager,
    )


def linking(paths: Paths) -> str:
    """The shell command that puts links in the places of folders that nothing can be mounted on.

    The repository has files in some of them, which keep empty folders: git is told not to look for these any more.
    """
    targets = {place: paths.data("lora_scripts") / name for place, name in WRITTEN.items()}
    targets[SHOWN] = shown_models(paths)
    places = shlex.join(targets)
    forget = f"git ls-files -z -- {places} | git update-index -z --skip-worktree --stdin && rm -rf {places}"
    links = [f"mkdir -p {PurePosixPath(at).parent} && ln -sT {shlex.quote(str(to))} {at}" for at, to in targets.items()]
    return f"( cd {CODE} && {forget} && {' && '.join(links)} )"


def wanted_folders(paths: Paths) -> list[Folder]:
    """The GUI's group may write to these folders, but only root may create or rename them: systemd mounts them, and a
    link in the place of one would give the GUI access to another folder."""
    data = paths.data("lora_scripts")
    written = [Folder(data / name, "root", LORA_SCRIPTS, SHARED) for name in (*WRITTEN.values(), "cache", "tmp")]
    return [Folder(shown_models(paths)), Folder(paths.runs), *written]


def finishing(paths: Paths, release: Release, manager: Manager) -> Sequence[str]:
    """Commands that complete a release in its building folder; the last fails unless every submodule is in place."""
    env, settings = (
        shlex.quote(str(path))
        for path in (release.environment.folder(paths), paths.data("lora_scripts") / "config.json")
    )
    places = " ".join(shlex.quote(str(CODE / place)) for place in (*WRITTEN, SHOWN))
    make = f"mkdir -p {places}" if manager.mounts else linking(paths)
    return [
        f"{make} && ln -sfn {settings} {CODE}/{SETTINGS} && ln -sfn {env} env",
        f"! git -C {CODE} submodule status --recursive | grep '^[^ ]' >&2",
    ]
