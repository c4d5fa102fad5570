"""The trainer as an application of a host."""

from pathlib import PurePosixPath

from roles.accounts import TRAINER
from roles.facts.seen import quoted
from roles.operations.application import Application
from roles.paths import Folder, Paths
from roles.trainer.release import Release
from roles.trainer.rendering import launcher, program, turns

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


def application(wanted: Release, paths: Paths, keep: int) -> Application:
    """The trainer; no unit has to be restarted for it."""
    python = wanted.environment.folder(paths) / "bin/python"
    own = (paths.trainer_sources, paths.runs, paths.datasets)
    command, code = program(PurePosixPath()), PurePosixPath("code.zip")
    # Code is tried as the user that it will run as, where it reaches and writes nothing.
    confined = " ".join(f"-p {rule}" for rule in CONFINED)
    alone = f"systemd-run --quiet --wait --pipe --collect --uid={TRAINER} {confined}"
    return Application(
        "trainer",
        wanted.key,
        wanted.manifest(),
        wanted.environment,
        keep,
        files={code: wanted.code, command: launcher(wanted.folder(paths), wanted.environment.folder(paths))},
        finish=[
            f"mkdir lib && python3 -I -m zipfile -e {code} lib && rm {code} && chmod 755 {command}",
            f"{alone} --setenv=PYTHONPATH=\"$PWD/lib\" {quoted([python])} -P -B -c 'import training.cli' >&2",
        ],
        # The locks belong to the user that trains, the rest to root.
        folders=[*(Folder(path) for path in own), Folder(turns(paths), TRAINER, TRAINER)],
    )
