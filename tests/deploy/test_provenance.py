"""The trainer that made a run, from root's copies of its code and lock."""

import json
import subprocess
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from deploy.runs.provenance import release_named, trainer_of
from inventory.errors import SdfleetError
from roles.paths import Paths
from roles.trainer.config import Trainer
from roles.trainer.release import Release, release
from tests import onhost
from training.run import records


@pytest.fixture
def made() -> Release:
    return release(Trainer(), "cpu")


@pytest.fixture
def kept(tmp_path: Path, made: Release) -> Path:
    """What the host's program keeps of the trainer that this tree installs, from its release and environment alone."""
    app, environment = tmp_path / "trainer", tmp_path / "envs" / made.environment.key
    folder = app / "releases" / made.folder(Paths()).name
    (folder / "lib").mkdir(parents=True)
    environment.mkdir(parents=True)
    zipfile.ZipFile(BytesIO(made.code)).extractall(folder / "lib")
    (folder / "lib/training/__pycache__").mkdir()
    (folder / "lib/training/__pycache__/cli.cpython-311.pyc").touch()
    (folder / "manifest.json").write_text(made.manifest())
    (environment / "requirements.lock").write_text(made.environment.lock)
    for _ in range(2):
        subprocess.run(onhost.words("keep_trainers", app, tmp_path / "envs"), check=True)
    return app / "sources" / made.key


def test_it_is_the_very_release(kept: Path, made: Release) -> None:
    assert trainer_of(kept) == made


def test_code_that_is_not_the_releases_is_refused(kept: Path) -> None:
    (kept / "training.zip").write_bytes((kept / "training.zip").read_bytes() + b"more")
    with pytest.raises(SdfleetError, match="code and lock make the trainer"):
        trainer_of(kept)


def test_a_release_whose_code_was_changed_on_the_host_is_not_kept(tmp_path: Path, kept: Path) -> None:
    for file in kept.iterdir():
        file.unlink()
    kept.rmdir()
    with (tmp_path / "trainer/releases" / kept.name / "lib/training/cli.py").open("a") as code:
        code.write("# changed\n")
    subprocess.run(onhost.words("keep_trainers", tmp_path / "trainer", tmp_path / "envs"), check=True)
    assert not kept.exists()


@pytest.mark.parametrize("named", ["../../../../runs/ink/bin", "", "0123456789abcdeX", None])
def test_a_record_that_leads_elsewhere_is_refused(named: str | None) -> None:
    with pytest.raises(SdfleetError, match="has no valid trainer release"):
        release_named({"code": {"release": named}})


def test_code_that_a_run_wrote_beside_its_record_is_never_built(tmp_path: Path, made: Release) -> None:
    """A run can write code, lock and a record that fit each other: its own word is no proof of anything."""
    forged = Release(made.environment, b"evil")
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment/training.zip").write_bytes(forged.code)
    (tmp_path / "environment/requirements.lock").write_text(forged.environment.lock)
    code = {"release": forged.key, "python": "3.11.7"}
    (tmp_path / "run.json").write_text(json.dumps({"format": records.FORMAT, "code": code}))
    with pytest.raises(SdfleetError):
        trainer_of(tmp_path)
