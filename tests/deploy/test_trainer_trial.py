"""Two trainers in turns: which gate the new one does not pass, and what the programs on a host measure of them."""

import fcntl
import json
import os
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from deploy.connection.ssh import HostError, Remote
from deploy.onhost import trainer_trial, trainer_turns
from deploy.rollout import trial
from inventory.rollout import Rollout
from roles.managers import SYSTEMD
from roles.onhost import gpus, init, services
from roles.onhost.lock_file import open_lock
from roles.onhost.prune import MANIFEST
from roles.trainer import rendering
from tests.deploy.fake_hosts import fakes
from tests.deploy.test_measured_updates import remote

pytestmark = pytest.mark.slow

__all__ = ["fakes", "remote"]

GB = 1_000_000_000
# What it does stands beside it: seconds a step, MB at the peak, the losses' factor, and what it says before it fails.
TRAINER = """#!{python}
import json, os, sys
from pathlib import Path
seconds, peak, factor, why = json.loads(Path(__file__).with_name("does").read_text())
if why == "killed":
    os.kill(os.getpid(), 9)
if why:
    print("x" * 5_000_000)
    sys.exit("Traceback ...\\n" * 500_000 + why)
assert Path(sys.argv[2]).read_text() == "the trial"
run = Path(sys.argv[4])
run.mkdir()
at = 100.0
lines = []
for step in range(1, 21):
    at += seconds if step > 5 else 5
    lines.append({{"event": "step", "step": step, "loss": factor / step, "memory_mb": peak, "time": at}})
(run / "log.jsonl").write_text("\\n".join(map(json.dumps, lines)))
(run / "run.json").write_text(json.dumps({{"machine": {{"gpus": []}}}}))
"""


def run(seconds: float = 0.1, card: int = 4 * GB, losses: tuple[str, ...] = ("0.5", "0.25")) -> dict[str, Any]:
    return {"seconds": seconds, "card": card, "losses": list(losses)}


def found(
    new: dict[str, Any], old: dict[str, Any] | None = None, failed: dict[str, str] | None = None, same: bool = True
) -> trial.Found:
    return {
        "new": "r1",
        "same_environment": same,
        "runs": {"old": [old or run()] * 2, "new": [new] * 2},
        "failed": failed or {},
        "unmeasured": "",
    }


def none_done(**failed: str) -> trial.Found:
    """A new trainer that fails in each turn."""
    seen = found(run(), failed=failed)
    return {**seen, "runs": {**seen["runs"], "new": []}}


OTHER = run(losses=("0.5", "0.26"))


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (found(run()), ""),
        (found(run(0.13)), ""),
        (found(run(0.2)), "a training step takes 0.2 s, with the old release 0.1 s; fleet.rollout.slower is 1.25"),
        (found(run(card=6 * GB)), "a training step takes 6.00 GB of the card's memory at its peak"),
        (found(OTHER), "other losses: 0.26 in step 2 of a small run, with the old release 0.25"),
        (found(OTHER, same=False), ""),
        (none_done(new="ImportError: x"), "training steps of a small run: ImportError: x"),
        ({**none_done(**{"": "ImportError: x"}), "runs": {}}, "training steps of a small run: ImportError: x"),
        # In another turn it did the steps: something else took the card's memory.
        (found(run(), failed={"new": "CUDA out of memory", "": "it did not end in its time"}), ""),
        (found(run(9), failed={"new": "no GPU is free", "old": "no GPU is free"}), "a training step takes 9 s"),
        ({**found(run()), "runs": {"old": [], "new": []}, "failed": {"new": "no", "old": "no"}}, ""),
        # In one turn no card was found.
        ({**found(run()), "runs": {"old": [run()], "new": [run(0.3), {"seconds": 9, "losses": []}]}}, "takes 0.3 s"),
        # A trainer whose own losses differ from turn to turn cannot be compared.
        ({**found(run()), "runs": {"old": [run(), OTHER], "new": [OTHER] * 2}}, ""),
        ({**found(run()), "runs": {"old": [run()] * 2, "new": [OTHER, run()]}}, ""),
        ({**found(run()), "runs": {"old": [run()] * 2, "new": [OTHER]}}, ""),
        ({**found(run()), "runs": {"old": [run()], "new": [OTHER] * 2}}, ""),
    ],
)
def test_the_gate_of_the_trainer(seen: trial.Found, said: str) -> None:
    failure = trial.judge("h1", seen, Rollout())
    assert said in (failure.said if failure else "") and bool(failure) == bool(said)
    assert failure is None or failure.gate == "training"


def test_trainers_get_what_runs_get_and_the_host_chooses_the_device(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(Remote, "call", lambda *_, **wants: asked.update(wants) or {**trainer_trial.NOTHING, "new": ""})
    trial.compare(remote, "r0", Rollout())
    assert asked["limits"] == {"nice": 5, "oom_score": 500, "umask": 0o022} and asked["python"][-1] == "-I"
    its = rendering.unit(remote.host.trainer, remote.host.paths, SYSTEMD)
    slice_, *rules, _ = [word.partition("=")[2] for word in asked["scope"] if "=" in word or word == "--"]
    assert f"Slice={slice_}" in its and {*rules} - {"Delegate=yes"} <= {*its.splitlines()}
    assert {rule.partition("=")[0] for rule in rules} == {"Delegate", "MemoryMax", "DevicePolicy", "DeviceAllow"}
    assert (asked["allowed"], asked["guests"]["webui"]["policy"]) == (1, "unload") and asked["locks"].endswith(".turns")


def test_losses_may_change_where_that_is_said() -> None:
    assert trial.judge("h1", found(OTHER), Rollout(same_loss=False)) is None


@pytest.mark.parametrize(("again", "dear"), [(run(), False), (run(0.3), True)])
def test_a_step_that_seems_dear_is_measured_again(
    again: dict[str, Any], dear: bool, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [found(run(0.3)), *[found(again)] * 2]
    monkeypatch.setattr(trial, "_look", lambda *_: answers.pop(0))
    compared, failure = trial.compare(remote, "r0", Rollout())
    assert compared and bool(failure) == dear and bool(answers) != dear


def test_a_trainer_that_failed_beside_something_else_is_tried_again(
    remote: Remote, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [none_done(new="CUDA out of memory"), found(run())]
    monkeypatch.setattr(trial, "_look", lambda *_: answers.pop(0))
    assert trial.compare(remote, "r0", Rollout()) == (True, None)
    told = " ".join(capsys.readouterr().out.split())
    assert "of a small run: CUDA out of memory; measuring again" in told
    for _ in range(3):
        answers.append(none_done(new="ImportError: x"))
    compared, failure = trial.compare(remote, "r0", Rollout())
    assert not compared and failure and "ImportError: x" in failure.said


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"new": ""}, ""),
        ({"unmeasured": "a training is at work there"}, "was not compared: a training is at work there"),
        ({"failed": {"old": "no GPU", "new": "no GPU"}}, "was not compared: the old trainer does not do it: no GPU"),
        (HostError("`trainer_trial` timed out", host="h1"), "was not compared: `trainer_trial` timed out"),
    ],
)
def test_what_was_not_measured_is_not_compared_and_that_is_said(
    answer: trial.Found | HostError,
    said: str,
    remote: Remote,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def call(*_: object, **__: object) -> trial.Found:
        if isinstance(answer, HostError):
            raise answer
        return {**trainer_trial.NOTHING, "new": "r1", **answer}

    monkeypatch.setattr(Remote, "call", call)
    assert trial.compare(remote, "r0", Rollout()) == (False, None)
    told = " ".join(capsys.readouterr().out.split())
    assert said in told and bool(told) == bool(said)


NO_GPU: dict[str, Any] = {"locks": "/runs/.turns", "allowed": 0, "guests": {}, "limits": {}, "scope": []}


def trainers(folder: Path, *python: str, **more: Any) -> trial.Found:
    """What is measured of two releases with this Python."""
    for name in ("r0", "r1"):
        (folder / "releases" / name).mkdir(parents=True)
        (folder / "releases" / name / MANIFEST).write_text('{"environment": "e"}')
    (folder / "current").symlink_to("releases/r1")
    return trainer_trial.main(str(folder), "/envs", "r0", list(python), **{**NO_GPU, **more})


def test_a_fault_of_measuring_is_no_fault_of_the_new_trainer(tmp_path: Path) -> None:
    seen = trainers(tmp_path, "sh", "-c", "echo 'OSError: No space left on device' >&2; exit 1")
    assert seen["unmeasured"] == "OSError: No space left on device" and trial.judge("h1", seen, Rollout()) is None


@pytest.mark.parametrize("booted", [True, False])
def test_a_trial_has_the_limits_of_a_run(booted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(init, "is_systemd", lambda: booted)
    its = "[os.environ.get('SCOPE'), os.nice(0), open('/proc/self/oom_score_adj').read().strip()]"
    python = [sys.executable, "-c", f"import json, os; print(json.dumps({{'told': {its}}}))"]
    seen = trainers(tmp_path, *python, limits={"nice": 3, "oom_score": 700}, scope=["env", "SCOPE=s"])
    assert seen["told"] == ["s" if booted else None, min(os.nice(0) + 3, 19), "700"]


def test_a_trial_that_is_killed_says_why(tmp_path: Path) -> None:
    why = trainers(tmp_path, "sh", "-c", "kill -9 $$")["unmeasured"]
    assert why == "it was ended by signal 9, as by the kernel where main memory runs short; see trainer.memory_max"


@pytest.mark.parametrize(
    ("cards", "allowed", "policy", "taken"),
    [
        ("", 1, "unload", ["", "cpu"]),
        ("0 1", 0, "unload", ["", "cpu"]),
        ("0 1", 2, "wait", ["1", "gpu-1"]),
        ("0 1", 1, "unload", ["0", "gpu-0"]),
        ("0 1", 1, "share", ["0", "gpu-0"]),
        ("0 1", 1, "wait", []),
        ("0", 1, "refuse", []),
    ],
)
def test_the_trial_takes_the_device_that_a_run_would_take(
    cards: str, allowed: int, policy: str, taken: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "cards", lambda: [{"index": index} for index in cards.split()])
    monkeypatch.setattr(services, "state", lambda _: "active")
    guests = {"webui": {"policy": policy, "unit": "sdwebui.service", "port": 7860, "gpu": 0}, "comfyui": None}
    answers = "import json, sys; told = json.load(sys.stdin); print(json.dumps({'told': told}))"
    seen = trainers(tmp_path, sys.executable, "-c", answers, allowed=allowed, guests=guests)
    told = seen.get("told", {})
    assert [told[key].rpartition("/")[2] for key in ("gpu", "lock") if key in told] == taken
    assert bool(taken) != (f"uses GPU 0, and trainer.beside_webui is {policy}" in seen["unmeasured"])


def test_an_old_release_that_was_removed_is_said(tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("releases/r1")
    assert "trainer.keep_releases" in trainer_trial.main(str(tmp_path), "/envs", "r0", [], **NO_GPU)["unmeasured"]
    assert trainer_trial.main(str(tmp_path), "/envs", "r1", [], **NO_GPU)["new"] == ""


@pytest.fixture
def wants(tmp_path: Path) -> dict[str, Any]:
    """Two trainers of the same kind, and one that writes the trial."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "does").write_text(json.dumps([0.1, 900, 1.0, ""]))
        (tmp_path / name / "lora-train").write_text(TRAINER.format(python=sys.executable))
        (tmp_path / name / "lora-train").chmod(0o755)
    code = tmp_path / "code/training/run"
    code.mkdir(parents=True)
    for package in (code, code.parent):  # else the project's own, which is installed, would be found
        (package / "__init__.py").touch()
    (code / "trial.py").write_text(
        "import sys; from pathlib import Path\n"
        "def main() -> None: Path(sys.argv[1], 'config.toml').write_text('the trial')\n"
    )
    return {
        "trainers": {name: str(tmp_path / name / "lora-train") for name in ("old", "new")},
        "order": ["old", "new", "new", "old"],
        "seconds": 10_000,
        "gpu": "",
        "lock": str(tmp_path / "cpu"),
        "compiled": str(tmp_path / "none"),
        "python": sys.executable,
        "code": str(tmp_path / "code"),
    }


def test_trainers_take_turns_and_their_first_steps_do_not_count(wants: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "new/does").write_text(json.dumps([0.2, 1200, 2.0, ""]))
    seen = trainer_turns.measured(wants, tmp_path)
    assert seen["failed"] == {}
    assert [one["seconds"] for one in seen["runs"]["old"]] == [pytest.approx(0.1)] * 2
    assert [one["seconds"] for one in seen["runs"]["new"]] == [pytest.approx(0.2)] * 2
    assert seen["runs"]["new"][0]["processes"] == 1200 << 20
    assert (seen["runs"]["old"][0]["losses"][:2], seen["runs"]["new"][0]["losses"][:2]) == (
        ["1.0", "0.5"],
        ["2.0", "1.0"],
    )


def test_a_trainer_that_fails_says_why(wants: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "new/does").write_text(json.dumps([0.1, 900, 1.0, "ImportError: no torch"]))
    tracemalloc.start()
    seen = trainer_turns.measured(wants, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen["failed"] == {"new": "ImportError: no torch"} and len(seen["runs"]["old"]) == 2
    assert peak < 2_000_000, "what it says is not held"


def test_a_trainer_that_takes_too_much_memory_is_no_end_of_the_trial(wants: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "new/does").write_text(json.dumps([0.1, 900, 1.0, "killed"]))
    seen = trainer_turns.measured(wants, tmp_path)
    assert "ended by signal 9, as by the kernel where main memory runs short" in seen["failed"]["new"]
    assert len(seen["runs"]["old"]) == 2


def test_without_a_trial_nothing_is_tried(wants: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "code/training/run/trial.py").write_text("raise ImportError('no diffusers')")
    seen = trainer_turns.measured(wants, tmp_path)
    assert seen == {"failed": {"": "ImportError: no diffusers"}, "runs": {"old": [], "new": []}}


@pytest.mark.parametrize("where", ["trial", "trainer"])
def test_a_full_disk_is_no_fault_of_a_trainer(
    where: str,
    wants: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    full = "OSError: [Errno 28] No space left on device: 'x'"
    if where == "trial":
        (tmp_path / "code/training/run/trial.py").write_text(f"raise SystemExit({full!r})")
    else:
        (tmp_path / "new/does").write_text(json.dumps([0.1, 900, 1.0, full]))
    (tmp_path / "wants").write_text(json.dumps(wants))
    with (tmp_path / "wants").open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        trainer_turns.main()
    assert json.loads(capsys.readouterr().out) == {"unmeasured": f"/var/tmp: {full}"}


def test_a_device_that_trains_is_left_alone(
    wants: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "wants").write_text(json.dumps(wants))
    with (tmp_path / "wants").open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        fcntl.flock(open_lock(Path(wants["lock"])), fcntl.LOCK_EX)
        trainer_turns.main()
    assert json.loads(capsys.readouterr().out) == {"unmeasured": trainer_turns.BUSY}
