"""The trainer that made a run, from what the run keeps."""

import json
from pathlib import Path

import pytest

from deploy.runs.kept import trainer_of
from inventory.errors import SdfleetError
from roles.trainer.config import Trainer
from roles.trainer.release import release
from training import records
from training.runfolder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A fetched run of the trainer that this tree installs."""
    made, kept = release(Trainer(), "cpu"), RunFolder(tmp_path)
    kept.environment.mkdir()
    kept.code.write_bytes(made.code)
    kept.lock.write_text(made.environment.lock)
    code = {"release": made.key, "python": f"{made.environment.python}.7"}
    kept.record.write_text(json.dumps({"format": records.FORMAT, "code": code}))
    return kept


def test_it_is_the_very_release(run: RunFolder) -> None:
    assert trainer_of(run.path) == release(Trainer(), "cpu")


def test_code_that_did_not_make_the_run_is_refused(run: RunFolder) -> None:
    run.code.write_bytes(run.code.read_bytes() + b"more")
    with pytest.raises(SdfleetError, match="but this run was made by"):
        trainer_of(run.path)


def test_what_is_missing_is_named(run: RunFolder) -> None:
    run.lock.unlink()
    with pytest.raises(SdfleetError, match="environment/ does not hold the trainer"):
        trainer_of(run.path)
