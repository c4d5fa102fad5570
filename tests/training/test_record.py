"""The record of a run, and making the run again from it."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.training.test_processes import environment
from tests.training.test_repeats import StopsAfter
from tests.training.workbench import Workbench
from training.errors import InputError, TrainingError
from training.run import environment as surroundings
from training.run import record_format
from training.run.record import begin_record
from training.run.reproduce import compare_results, record_differences
from training.run_folder import RunFolder

pytestmark = pytest.mark.slow


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def lora_train(*arguments: str) -> "subprocess.CompletedProcess[str]":
    program = [sys.executable, "-P", "-c", "from training.cli import run; run()", *arguments]
    return subprocess.run(program, env=environment(), capture_output=True, text=True, timeout=300)


def test_the_record_of_a_very_large_dataset_is_read(tmp_path: Path) -> None:
    """150,000 pictures with captions, 200,000 logged steps."""
    sha256, place = "0" * 64, "/data/trainings/portraits of 2026/1girl, solo/10_cat"
    inputs = {
        f"{place}/picture {number:08d}.{ending}": {"kind": kind, "sha256": sha256}
        for number in range(150_000)
        for ending, kind in (("png", "picture"), ("txt", "caption"))
    }
    losses = [[step, 0.10281738281250001] for step in range(200_000)]
    whole = {"format": record_format.FORMAT, "inputs": inputs, "losses": losses, "ended": {"how": "finished"}}
    file = tmp_path / "run.json"
    file.write_text(json.dumps(whole, indent=1))
    assert file.stat().st_size > 64_000_000
    assert record_format.is_finished(record_format.read_record(file))


def own_pictures(bench: Workbench) -> Path:
    """A copy of the pictures that a test may change."""
    shutil.copytree(bench.materials / "pictures", bench.folder / "pictures")
    return bench.folder / "pictures"


def test_record_names_all_that_decides(bench: Workbench) -> None:
    bench.train("run", tables={"sample": {"prompts": ["a cat --s 1 --w 64 --h 64"], "every_steps": 4}})
    found = record(bench.folder / "run")
    kinds = [entry["kind"] for entry in found["inputs"].values()]
    assert kinds.count("picture") == kinds.count("caption") == 6
    assert all(len(entry["sha256"]) == 64 for entry in found["inputs"].values())
    assert len(found["model"]["model.checkpoint"]["sha256"]) == 64
    assert found["config"]["train"]["steps"] == 4 and found["config"]["optimizer"]["kind"] == "AdamW"
    assert found["packages"]["torch"] and found["machine"]["cpu"] and found["machine"]["threads"]
    assert found["machine"]["variables"]["MKL_CBWR"] == "AUTO", "MKL would round otherwise when the cores are busy"
    assert [step for step, _ in found["losses"]] == [1, 2, 3, 4]
    assert found["outputs"]["output/cat.safetensors"]["sha256"] == bench.digest("run")
    assert "samples/cat-00000004-00.png" in found["outputs"]
    assert found["ended"]["how"] == "finished"
    with zipfile.ZipFile(bench.folder / "run/environment/training.zip") as archive:
        assert "training/loop/recipe.py" in archive.namelist()


def test_record_tells_how_a_run_stopped_failed_and_went_on(bench: Workbench) -> None:
    bench.train("run", stop=StopsAfter(2))
    assert record(bench.folder / "run")["ended"]["how"] == "stopped"
    bench.train("run")
    whole = record(bench.folder / "run")
    assert whole["ended"]["how"] == "finished" and len(whole["lives"]) == 2
    tables = {"optimizer": {"learning_rate": 1e12, "max_grad_norm": 0}, "train": {"steps": 50}}
    with pytest.raises(TrainingError):
        bench.train("bad", tables=tables)
    ended = record(bench.folder / "bad")["ended"]
    assert ended["how"] == "failed" and "the loss became" in ended["reason"]


def become(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be the trainer of a fleet's host with this release."""
    code = {**surroundings.code_version(), "release": release}
    monkeypatch.setattr(surroundings, "code_version", lambda: code)


def test_a_refused_resume_leaves_the_name_of_the_trainer_that_wrote_the_checkpoint(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(bench.folder / "run")
    become("a" * 16, monkeypatch)
    bench.train("whole")  # so that the pictures are encoded, and the stop comes between two steps
    bench.train("run", stop=StopsAfter(2))
    run.code.write_bytes(b"the earlier trainer")
    become("b" * 16, monkeypatch)
    with pytest.raises(InputError, match="holds a checkpoint of another config"):
        bench.train("run", tables={"optimizer": {"learning_rate": 2e-3}})
    assert record(run.path)["code"]["release"] == "a" * 16
    assert len(record(run.path)["lives"]) == 2 and run.code.read_bytes() == b"the earlier trainer"
    bench.train("run")
    assert record(run.path)["code"]["release"] == "b" * 16, "it could read the checkpoint"
    assert zipfile.is_zipfile(run.code)


def test_a_run_without_a_checkpoint_is_the_present_trainers(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(bench.folder / "run")
    run.make()
    for release in ("a" * 16, "b" * 16):
        become(release, monkeypatch)
        assert begin_record(bench.config(), run, 1)["code"]["release"] == release
        assert record(run.path)["code"]["release"] == release
        (run.checkpoints / ".step-00000002.pt.7.part").touch()  # of a write that was cut off


def test_reproduced_to_the_bit_and_a_changed_byte_is_named(bench: Workbench) -> None:
    pictures = own_pictures(bench)
    bench.train("first", tables={"data": {"folder": str(pictures)}})
    done = lora_train("reproduce", str(bench.folder / "first"), "--run", str(bench.folder / "again"))
    assert done.returncode == 0, done.stderr
    assert f"identical: both files have the sha256 {bench.digest('first')}" in done.stdout
    caption = pictures / "2_cat/3.txt"
    caption.write_text(caption.read_text().replace("cat", "bat"))
    refused = lora_train("reproduce", str(bench.folder / "first"), "--run", str(bench.folder / "other"))
    assert refused.returncode == 3
    assert refused.stdout.count("differs: ") == 1 and f"the caption {caption} has changed" in refused.stdout
    assert "Not trained: the result would differ. To train anyway, use --anyway." in refused.stderr
    assert not (bench.folder / "other").exists()


def test_differences_of_two_runs_are_named(bench: Workbench) -> None:
    bench.train("one")
    bench.train("two", tables={"train": {"seed": 7}})
    one, two = record(bench.folder / "one"), record(bench.folder / "two")
    assert record_differences(one, one) == []
    assert record_differences(one, two) == ["setting train.seed: 42, now 7"]
    verdict = compare_results(one, two, bench.file("one"), bench.file("two"))
    assert not verdict.holds and verdict.weights is not None and verdict.weights > 0.05
    assert verdict.sentence().startswith("not identical, though the machines are of one kind")
    elsewhere = {**one, "machine": {**one["machine"], "capability": "AVX1024"}, "sha256": "0" * 64}
    assert record_differences(one, elsewhere) == [
        f"machine, capability: {one['machine']['capability']!r}, now 'AVX1024'"
    ]
    other = compare_results(one, elsewhere, bench.file("one"), bench.file("one"))
    assert other.holds and "not promised on other hardware" in other.sentence()
