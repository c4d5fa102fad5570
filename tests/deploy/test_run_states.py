"""A run's state is decided once: what `status`, `train list`, `publish` and `resume` say of it is the same."""

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.runs.publish import result
from inventory.errors import SdfleetError
from tests.deploy.fake_hosts import FakeHosts, fakes
from training.run.record_format import FORMAT

pytestmark = pytest.mark.slow

__all__ = ["fakes"]

ACTIVE = "ActiveState=active\nResult=success\nInvocationID=abc\n"
ENDED = "ActiveState=inactive\nResult=success\nInvocationID=\n"
FAILED = "ActiveState=failed\nResult=exit-code\nInvocationID=abc\n"
WAITS = {"state": "queued", "text": "waiting for the runs before it", "gpus": [], "invocation": "abc"}
TRAINS = {"state": "running", "text": "on GPU 1", "gpus": ["1"], "invocation": "abc"}
ERROR = json.dumps({"event": "error", "step": 3, "message": "the loss is not a number"})
STEP = json.dumps({"event": "step", "step": 3})


def run_of(fakes: FakeHosts, unit: str, log: str = "", **files: Any) -> Path:
    """A run `ink` on h1 whose unit is as systemctl shows it, with files NAME.json."""
    fakes.write({"h1": "train"})
    (fakes.host("h1") / "show").write_text(unit)
    folder = fakes.root("h1") / "runs/ink"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("")
    if log:
        (folder / "log.jsonl").write_text(f"{log}\n")
    for name, content in files.items():
        (folder / f"{name.replace('_', '-')}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("state", "unit", "log", "files"),
    [
        ("queued", ACTIVE, "", {"turn_state": WAITS}),
        ("running", ACTIVE, STEP, {"turn_state": TRAINS}),
        ("running", ACTIVE, STEP, {"turn_state": {**WAITS, "invocation": "an earlier start"}}),
        ("finished", ENDED, STEP, {"run": {"ended": {"how": "finished"}}}),
        ("failed", ENDED, STEP, {"run": {"ended": {"how": "failed", "reason": "no memory"}}}),
        ("failed", ENDED, ERROR, {}),
        ("failed", FAILED, STEP, {"turn_state": TRAINS}),
        ("stopped", ENDED, STEP, {"turn_state": TRAINS}),
        ("stopped", ENDED, "", {"turn_state": WAITS}),
        ("created", ENDED, "", {}),
    ],
)
def test_every_verb_says_the_same(state: str, unit: str, log: str, files: dict[str, Any], fakes: FakeHosts) -> None:
    run_of(fakes, unit, log, **files)
    told = json.loads(fakes.sdfleet("status", "--json").output)
    assert told["hosts"]["h1"]["runs"] == {"ink": state}
    [line] = [line for line in fakes.sdfleet("train", "list").output.splitlines() if line.startswith("ink")]
    assert line.split()[2] == state


def test_a_file_is_published_only_of_a_run_that_has_finished(tmp_path: Path) -> None:
    folder = tmp_path / "ink"
    (folder / "output").mkdir(parents=True)
    with pytest.raises(SdfleetError, match=r"ink has not finished: it is queued\. It has written no LoRA yet\.$"):
        result(folder, "queued", None)
    for name in ("ink-000002", "ink-000004", "ink"):
        (folder / f"output/{name}.safetensors").write_text(name)
    (folder / "run.json").write_text(
        json.dumps({"format": FORMAT, "file": "ink.safetensors", "ended": {"how": "finished"}})
    )
    assert result(folder, "finished", None).name == "ink.safetensors"
    with pytest.raises(SdfleetError) as refused:
        result(folder, "stopped", None)
    assert str(refused.value).startswith(
        "ink has not finished: it is stopped. It has written: ink-000002.safetensors, ink-000004.safetensors"
    )
    assert result(folder, "stopped", "ink-000002").name == "ink-000002.safetensors"
    assert result(folder, "stopped", "ink-000004.safetensors").name == "ink-000004.safetensors"
    with pytest.raises(SdfleetError, match=r"ink has no file pen\. It has written: ink-000002"):
        result(folder, "finished", "pen")


def test_publish_of_a_stopped_run_is_refused(fakes: FakeHosts, tmp_path: Path) -> None:
    folder = run_of(fakes, ENDED, STEP, turn_state=TRAINS)
    (folder / "output").mkdir()
    (folder / "output/ink-000001.safetensors").write_text("one")
    done = fakes.sdfleet("train", "publish", "ink", "--into", str(tmp_path / "fetched"))
    assert done.exit_code == 1
    assert "ink has not finished: it is stopped. It has written: ink-000001.safetensors" in done.output


def test_what_a_killed_removal_left_goes_with_the_next(fakes: FakeHosts) -> None:
    folder = run_of(fakes, ENDED, STEP)
    left = folder.with_name(".pen.gone")
    left.mkdir()
    done = fakes.sdfleet("train", "remove", "ink")
    assert done.exit_code == 0, done.output
    assert not left.exists() and not folder.exists()


def test_a_run_whose_trainer_is_lost_is_resumed_by_the_present_one(fakes: FakeHosts) -> None:
    """The checkpoint itself is protected: a trainer with other settings refuses it."""
    folder = run_of(fakes, ENDED, STEP, run={"code": {"release": "c" * 16}}, turn={"gpus": 1})
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint/step-1.pt").touch()
    done = fakes.sdfleet("train", "resume", "ink", "--no-follow")
    assert done.exit_code == 0, done.output
    assert (
        "warning h1 has neither the trainer cccccccccccccccc nor root's copy of its code and lock, so it cannot be "
        "built again; the copy in the run's environment/ was written by the run itself and is not trusted. ink goes on "
        "with the present trainer, which refuses the checkpoint if its settings are others" in done.output
    )
    assert "ink resumed on h1" in done.output
    turn = json.loads((folder / "turn.json").read_text())
    assert turn["lost_trainer"] == "c" * 16 and turn["gpus"] == 1


def test_a_run_without_a_checkpoint_needs_no_trainer_of_then(fakes: FakeHosts) -> None:
    folder = run_of(fakes, ENDED, STEP, run={"code": {"release": "c" * 16}}, turn={"gpus": 1})
    done = fakes.sdfleet("train", "resume", "ink", "--no-follow")
    assert done.exit_code == 0 and "warning" not in done.output, done.output
    assert "lost_trainer" not in json.loads((folder / "turn.json").read_text())
