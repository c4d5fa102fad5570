"""The trainer as an application of a host."""

from pathlib import PurePosixPath

from roles.accounts import TRAINER
from roles.facts.seen import quoted
from roles.managers import Manager
from roles.operations.application import Application
from roles.operations.sandbox import bounded, tried
from roles.paths import Folder, Paths
from roles.trainer.release import Release
from roles.trainer.rendering import launcher, program, turns


def application(wanted: Release, paths: Paths, keep: int, manager: Manager) -> Application:
    """The trainer; it has no unit to restart."""
    python = wanted.environment.folder(paths) / "bin/python"
    own = (paths.trainer_sources, paths.runs, paths.datasets)
    command, code = program(PurePosixPath()), PurePosixPath("code.zip")
    # Code is tried as its service user, without network and writable files.
    variables = {"PYTHONPATH": '"$PWD/lib"'}
    trial = f"{tried(TRAINER, manager, variables)} {quoted([python])} -P -B -c 'import training.cli'"
    return Application(
        "trainer",
        wanted.key,
        wanted.manifest(),
        wanted.environment,
        keep,
        files={code: wanted.code, command: launcher(wanted.folder(paths), wanted.environment.folder(paths))},
        finish=[
            f"mkdir lib && python3 -I -m zipfile -e {code} lib && rm {code} && chmod 755 {command}",
            bounded(trial),
        ],
        # The locks belong to the user that trains, the rest to root.
        folders=[*(Folder(path) for path in own), Folder(turns(paths), TRAINER, TRAINER)],
        manager=manager,
    )
