"""Operations of the trainer role."""

import shlex

from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import DeployError
from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.accounts import TRAINER
from roles.facts.seen import HostSurvey
from roles.facts.survey import Survey
from roles.onhost import source
from roles.operations.environment import environment
from roles.operations.files import Commands, Folder, folders, put, rendered, units_read
from roles.operations.release import BUILT, MANIFEST, activate, provenance, prune_releases, recorded
from roles.paths import Paths
from roles.trainer.config import Trainer
from roles.trainer.release import NoLockError, Release, release
from roles.trainer.rendering import (
    SLICE,
    TENSORBOARD,
    UNIT,
    launcher,
    program,
    tensorboard,
    train_slice,
    turn,
    turns,
    unit,
)

CONFINED = (
    "PrivateNetwork=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "NoNewPrivileges=yes",
    "InaccessiblePaths=-/etc/sdfleet",
    "RuntimeMaxSec=600",
)
"""What code that was just put there finds when it is tried."""


@deploy("Trainer")
def install(trainer: Trainer, paths: Paths, build: str) -> None:
    """
    Install the training recipe, its environment, and the unit that each run is an instance of.

    + trainer: the role's settings
    + paths: the host's paths
    + build: torch's build for this host (cpu, cu128, ...)
    """
    try:
        wanted = release(trainer, build)
    except NoLockError as error:
        raise DeployError(str(error)) from error
    places = wanted_folders(paths)
    seen = host.get_fact(
        Survey,
        paths=[
            *(folder.path for folder in places),
            wanted.environment.folder(paths),
            wanted.folder(paths),
            paths.current("trainer"),
        ],
        texts=[UNIT, TENSORBOARD, SLICE, turn(paths), paths.history("trainer")],
        folders=[paths.releases("trainer"), paths.trainer_sources],
        belonging={paths.runs: TRAINER},
        units=[UNIT.name.replace("@", "@any")],
    )
    folders(name="Make the trainer's folders", wanted=places, seen=seen)
    runs_taken_over(name="Take over runs of an older sdfleet", paths=paths, seen=seen)
    text = source("training_turn")
    rendered(name="Install the program that gives runs their turn", dest=turn(paths), text=text, seen=seen)
    environment(name="Build the training environment", wanted=wanted.environment, paths=paths, seen=seen)
    built_release(name=f"Build the trainer {wanted.key}", wanted=wanted, paths=paths, seen=seen)
    used_release(name=f"Use the trainer {wanted.key}", wanted=wanted, paths=paths, seen=seen)
    trainers_kept(name="Keep code and lock of the trainers", wanted=wanted, paths=paths, seen=seen)
    units = {
        UNIT: unit(trainer, paths),
        TENSORBOARD: tensorboard(trainer, paths, wanted.environment.folder(paths)),
        SLICE: train_slice(trainer),
    }
    rendered(name="Write the unit of training runs", dest=UNIT, text=units[UNIT], seen=seen)
    rendered(name="Write the slice of training runs", dest=SLICE, text=units[SLICE], seen=seen)
    rendered(name="Write TensorBoard's unit", dest=TENSORBOARD, text=units[TENSORBOARD], seen=seen)
    units_read(name="Let systemd read the units", units=units, seen=seen)
    prune_releases(
        name="Remove old releases",
        app="trainer",
        keep=trainer.keep_releases,
        current=wanted.key,
        paths=paths,
        seen=seen,
    )


def wanted_folders(paths: Paths) -> list[Folder]:
    """Folders of the role, parents first. The locks belong to the user that trains, the rest to root."""
    app, releases = paths.app("trainer"), paths.releases("trainer")
    own = (app, releases, paths.trainer_sources, paths.programs, paths.runs, paths.datasets)
    return [*(Folder(path) for path in own), Folder(turns(paths), TRAINER, TRAINER)]


@operation()
def trainers_kept(wanted: Release, paths: Paths, seen: HostSurvey) -> Commands:
    """
    Keep root's copies of what trainers are made of: `train reproduce` builds them again on other hosts.

    + wanted: the release in use
    + paths: the host's paths
    + seen: a survey that listed releases and copies
    """
    releases = seen.names.get(str(paths.releases("trainer")), [])
    there = {name for name in releases if not name.startswith(".")} | {wanted.key}
    if there <= set(seen.names.get(str(paths.trainer_sources), [])):
        host.noop("all are kept")
        return
    words = shlex.join([str(paths.app("trainer")), str(paths.envs)])
    yield StringCommand("python3 -I -", words, _stdin=[source("keep_trainers")])


@operation()
def runs_taken_over(paths: Paths, seen: HostSurvey) -> Commands:
    """
    Make runs root's whose folders an older sdfleet gave to the user that trains, who could swap what is in them.

    + paths: the host's paths
    + seen: a survey that listed that user's folders among the runs
    """
    if not seen.belonging.get(str(paths.runs)):
        host.noop("all runs are root's")
        return
    words = shlex.join([str(paths.runs), TRAINER])
    yield StringCommand("python3 -I -", words, _stdin=[source("take_over_runs")])


@deploy("Earlier trainer")
def rebuild(wanted: Release, paths: Paths) -> None:
    """
    Build a release of the trainer beside the one in use, which stays so.

    + wanted: the release
    + paths: the host's paths
    """
    seen = host.get_fact(
        Survey,
        paths=[wanted.environment.folder(paths), wanted.folder(paths)],
        folders=[paths.releases("trainer"), paths.trainer_sources],
    )
    environment(name="Build the training environment", wanted=wanted.environment, paths=paths, seen=seen)
    built_release(name=f"Build the trainer {wanted.key}", wanted=wanted, paths=paths, seen=seen)
    trainers_kept(name="Keep code and lock of the trainers", wanted=wanted, paths=paths, seen=seen)


@operation()
def built_release(wanted: Release, paths: Paths, seen: HostSurvey) -> Commands:
    """
    Build a release of the trainer under its name, and try it.

    + wanted: the release
    + paths: the host's paths
    + seen: a survey that looked at its folder
    """
    final = wanted.folder(paths)
    if seen.entry(final) is not None:
        host.noop(f"trainer {wanted.key} is built")
        return
    build = final.with_name(f".{wanted.key}.building")
    python = wanted.environment.folder(paths) / "bin/python"
    new, code, lib, run = (shlex.quote(str(p)) for p in (build, build / "code.zip", build / "lib", program(build)))
    yield f"umask 022; rm -rf {new} && mkdir -p {new}/bin {lib}"
    yield put(build / "code.zip", wanted.code)
    yield put(program(build), launcher(final, wanted.environment.folder(paths)))
    yield f"umask 022; python3 -I -m zipfile -e {code} {lib} && rm {code} && chmod 755 {run}"
    # Code is tried as the user that it will run as, where it reaches and writes nothing.
    confined = " ".join(f"-p {rule}" for rule in CONFINED)
    alone = f"systemd-run --quiet --wait --pipe --collect --uid={TRAINER} {confined}"
    yield f"{alone} --setenv=PYTHONPATH={lib} {shlex.quote(str(python))} -P -B -c 'import training.cli' >&2"
    yield put(build / BUILT, provenance())
    yield put(build / MANIFEST, wanted.manifest())
    yield f"mv -T {new} {shlex.quote(str(final))}"


@operation()
def used_release(wanted: Release, paths: Paths, seen: HostSurvey) -> Commands:
    """
    Switch to a release of the trainer. Runs that are going keep the one they began with.

    + wanted: the release, which is built
    + paths: the host's paths
    + seen: a survey that looked at the link `current` and at the history
    """
    home = paths.app("trainer")
    link = seen.entry(paths.current("trainer"))
    used = link is not None and link.target == f"releases/{wanted.key}"
    if used and recorded(home, wanted.key, "", seen):
        host.noop(f"trainer {wanted.key} is in use")
        return
    yield activate(paths, home, wanted.key)
