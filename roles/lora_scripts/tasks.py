"""Operations of the lora-scripts role."""

import shlex
from collections.abc import Sequence

from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import DeployError
from pyinfra.context import host

from roles.accounts import LORA_SCRIPTS, SHARED
from roles.facts.survey import Survey
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
from roles.operations.application import CODE, Release, ReleaseError
from roles.operations.environment import environment
from roles.operations.files import Folder, folders, rendered
from roles.operations.locks import CPU
from roles.operations.release import MANIFEST, build_release, prune_releases, recorded, run_name, serves, switch
from roles.operations.sources import intact
from roles.operations.units import running_units
from roles.paths import Paths


@deploy("lora-scripts")
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
    own, program, current = wanted_folders(paths), paths.programs / f"{PROGRAM}.py", paths.current("lora_scripts")
    manifest = release.folder(paths) / MANIFEST
    trees = {release.folder(paths) / place: tree for place, tree in release.trees.items()}
    seen = host.get_fact(
        Survey,
        paths=[*(folder.path for folder in own), release.environment.folder(paths), current],
        texts=[program, manifest, GUI, BOARD, LINKS, WATCH, paths.history("lora_scripts")],
        units=[unit.name for unit in (GUI, BOARD, LINKS, WATCH)],
        trees=list(trees),
        folders=[paths.releases("lora_scripts")],
        whole=[release.environment.folder(paths)],
    )
    units = unit_texts(lora_scripts, paths, release, "cpu" if build == CPU else "cuda")
    folders(name="Make folders", wanted=own, seen=seen)
    environment(
        name=f"Build the environment {release.environment.key}", wanted=release.environment, paths=paths, seen=seen
    )
    whole = seen.text(manifest) == release.manifest() and intact(trees, seen)
    build_release(
        name=f"Build release {release.id}",
        folder=release.folder(paths),
        trees=release.trees,
        manifest=release.manifest(),
        finish=finishing(paths, release),
        whole=whole,
        paths=paths,
    )
    rendered(name="Put the program that shows it models", dest=program, text=source(PROGRAM), seen=seen, mode=0o755)
    running_units(name="Write the unit that shows it models", units={LINKS: units[LINKS]}, seen=seen, once=True)
    running_units(name="Watch for new models and datasets", units={WATCH: units[WATCH]}, seen=seen)
    sound = whole and seen.whole(release.environment.folder(paths))
    home = paths.app("lora_scripts")
    switch(
        name=run_name(home, release.id, GUI, units[GUI], seen),
        home=home,
        release=release.id,
        unit=GUI,
        text=units[GUI],
        paths=paths,
        running=sound and serves(home, release.id, GUI, units[GUI], seen),
        known=recorded(home, release.id, units[GUI], seen),
    )
    running_units(name="Run its TensorBoard", units={BOARD: units[BOARD]}, seen=seen)
    prune_releases(
        name="Remove old releases",
        app="lora_scripts",
        keep=lora_scripts.keep_releases,
        current=release.id,
        paths=paths,
        seen=seen,
    )


def wanted_folders(paths: Paths) -> list[Folder]:
    """Folders of the role, parents first. What the GUI writes is its group's to write, and root's to name: systemd
    mounts these folders, and a link in the place of one would open another to the GUI."""
    data = paths.data("lora_scripts")
    written = [Folder(data / name, "root", LORA_SCRIPTS, SHARED) for name in (*WRITTEN.values(), "cache", "tmp")]
    app = [Folder(paths.app("lora_scripts")), Folder(paths.releases("lora_scripts")), Folder(shown_models(paths))]
    return [*app, Folder(paths.runs), *written]


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
