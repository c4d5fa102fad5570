"""Operations of the trainer role."""

import shlex

from pyinfra.api.deploy import deploy as pyinfra_deploy
from pyinfra.operations import server

from roles.accounts import TRAINER
from roles.facts.seen import HostSurvey
from roles.managers import Manager
from roles.operations.application import Application
from roles.operations.deployment import all_folders, build, deploy, look, prune
from roles.operations.files import folders
from roles.operations.programs import remove_old_programs
from roles.operations.units import write_units
from roles.paths import Paths
from roles.programs import command
from roles.trainer.application import application
from roles.trainer.config import Trainer
from roles.trainer.release import Release, trainer_release
from roles.trainer.rendering import (
    UNIT,
    unit_texts,
)


@pyinfra_deploy("Trainer")
def install(trainer: Trainer, paths: Paths, build: str, manager: Manager) -> None:
    """
    Install the training recipe, its environment, and the unit that each run is an instance of.

    Active runs keep the release they started with.

    + trainer: the role's settings
    + paths: the host's paths
    + build: torch's build for this host (cpu, cu128, ...)
    + manager: the host's service manager
    """
    wanted = trainer_release(trainer, build)
    app = application(wanted, paths, trainer.keep_releases, manager)
    units = unit_texts(trainer, paths, wanted.environment.folder(paths), manager)
    seen = look(
        app,
        paths,
        texts=list(units),
        folders=[paths.trainer_sources, paths.old_programs],
        belonging={paths.runs: TRAINER},
        units=[UNIT.name.replace("@", "@any")],
    )
    folders(name="Make folders", wanted=all_folders(app, paths), seen=seen)
    if seen.belonging.get(str(paths.runs)):
        # Earlier versions gave them to the service user, who could replace their content.
        words = command(paths.onhost, "take_over_runs", paths.runs, TRAINER)
        server.shell(name="Take over runs of an older sdfleet", commands=[shlex.join(words)])
    deploy(app, paths, seen)
    keep_trainers(app, paths, seen)
    write_units(units, seen, manager)
    remove_old_programs(["training_turn"], paths, seen)
    prune(app, paths, seen)


@pyinfra_deploy("Earlier trainer")
def rebuild_trainer(wanted: Release, paths: Paths, manager: Manager) -> None:
    """
    Build a release of the trainer beside the current one, without switching to it.

    + wanted: the release
    + paths: the host's paths
    + manager: the host's service manager
    """
    app = application(wanted, paths, 1, manager)
    seen = look(app, paths, folders=[paths.trainer_sources])
    build(app, paths, seen)
    keep_trainers(app, paths, seen)


def keep_trainers(app: Application, paths: Paths, seen: HostSurvey) -> None:
    """Keep root's copies of the trainers' code and locks, from which `train reproduce` builds them on other hosts.

    + seen: a survey that listed the copies, and the releases that sdfleet built
    """
    releases = seen.holding.get(str(paths.releases("trainer")), [])
    there = {name for name in releases if not name.startswith(".")} | {app.release}
    if not there <= set(seen.names.get(str(paths.trainer_sources), [])):
        words = command(paths.onhost, "keep_trainers", paths.app("trainer"), paths.envs)
        server.shell(name="Keep code and locks of trainers", commands=[shlex.join(words)])
