"""The trainer that made a run, out of what the run keeps beside its record."""

from pathlib import Path

from inventory.errors import SdfleetError
from roles.operations.application import Environment
from roles.trainer.release import Release
from training import records
from training.runfolder import RunFolder


def trainer_of(run: Path) -> Release:
    """The release that made the fetched run in the folder `run`.

    Raises SdfleetError if the run keeps none, or not the one that its record names.
    """
    kept, record = RunFolder(run), records.read(RunFolder(run).record)
    if record is None or not (kept.code.is_file() and kept.lock.is_file()):
        raise SdfleetError(
            f"{run}: environment/ does not hold the trainer that made this run, so it can't be built again"
        )
    python = ".".join(record["code"]["python"].split(".")[:2])
    release = Release(Environment(lock=kept.lock.read_text(encoding="utf-8"), python=python), kept.code.read_bytes())
    if release.key != record["code"]["release"]:
        raise SdfleetError(
            f"{run}: environment/ holds the trainer {release.key}, but this run was made by "
            f"{record['code']['release'] or 'one of no fleet'}; fetch it again, or use a host that has that release"
        )
    return release
