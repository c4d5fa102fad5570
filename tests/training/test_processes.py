"""Several processes share a run: the same training up to rounding, and a lost one leaves a clear record."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.workbench import Workbench
from training.errors import InputError
from training.loop.distributed import DistributedGroup, select_rows
from training.loop.objective import Noisy
from training.run.launch import Nodes, launch_processes
from training.run.runner import train_in
from training.run_folder import as_toml
from training.signals import Stop

pytestmark = pytest.mark.slow

TOLERANCE = 1e-3
"""Relative difference of all weights (2-norm). By passes the sums of two are the same to the bit. A smaller batch is
rounded otherwise by about 1e-7, which AdamW's first steps, that are sign-like, enlarge where a gradient is near 0."""
PASSES: Mapping[str, Any] = {"train": {"steps": 6, "batch_size": 2, "accumulation": 2}}
PICTURES: Mapping[str, Any] = {"train": {"steps": 6, "batch_size": 2, "accumulation": 1}}


def write(bench: Workbench, run: str, tables: Mapping[str, Any]) -> list[str]:
    """Write the run's config; returns the command that trains it."""
    file = bench.folder / f"{run}.toml"
    file.write_text(as_toml(bench.config(tables=tables)))
    program = [sys.executable, "-P", "-c", "from training.cli import run; run()"]
    return [*program, "run", str(file), "--run", str(bench.folder / run)]


def environment() -> dict[str, str]:
    tree = Path(__file__).resolve().parents[2]
    return {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}


def difference(bench: Workbench, one: str, other: str) -> float:
    """The relative difference of the weights of two runs, in the 2-norm over all that start from zero."""
    first, second = bench.tensors(one), bench.tensors(other)
    assert first.keys() == second.keys()
    names = [name for name in first if "lora_up" in name]
    a, b = (torch.cat([found[name].flatten() for name in names]) for found in (first, second))
    return float((a - b).norm() / a.norm())


@pytest.mark.parametrize("shared", [PASSES, PICTURES], ids=["by passes", "by pictures"])
def test_two_processes_train_the_same_as_one(bench: Workbench, shared: Mapping[str, Any]) -> None:
    bench.train("one", tables=shared)
    command = write(bench, "two", {**shared, "resources": {"gpus": 2}})
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert bench.digest("two") == json.loads((bench.folder / "two/run.json").read_text())["sha256"]
    found = difference(bench, "one", "two")
    print(f"largest relative weight difference, 2 processes to 1: {found:.1e}")
    assert found < TOLERANCE
    losses = [[event["loss"] for event in bench.events(run, "step")] for run in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_stopped_and_resumed_on_fewer_processes(bench: Workbench) -> None:
    tables = {**PASSES, "train": {**PASSES["train"], "steps": 60}}
    bench.train("one", tables=tables)
    command = write(bench, "two", {**tables, "resources": {"gpus": 2}})
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        _wait_for_step(bench.folder / "two/log.jsonl", 5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0, process.stderr.read() if process.stderr else ""
    assert json.loads((bench.folder / "two/run.json").read_text())["ended"]["how"] == "stopped"
    bench.train("two", tables=tables)
    record = json.loads((bench.folder / "two/run.json").read_text())
    assert [life["processes"] for life in record["lives"]] == [2, 1]
    assert difference(bench, "one", "two") < 10 * TOLERANCE


def test_a_lost_process_ends_the_others_with_a_clear_record(bench: Workbench) -> None:
    tables = {**PASSES, "train": {**PASSES["train"], "steps": 500}, "save": {"checkpoint_every_steps": 3}}
    command = write(bench, "run", {**tables, "resources": {"gpus": 2, "patience_s": 20}})
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        _wait_for_step(bench.folder / "run/log.jsonl", 4)
        os.kill(_second_process(process.pid), signal.SIGKILL)
        assert process.wait(120) == 1
    record = json.loads((bench.folder / "run/run.json").read_text())
    assert record["ended"]["how"] == "failed"
    assert "process 0 of 2 lost another one" in record["ended"]["reason"]
    assert list((bench.folder / "run/checkpoint").glob("step-*.pt"))


def test_a_run_that_waits_for_its_other_host_is_stopped_at_once(bench: Workbench) -> None:
    port = _free_port()
    command = [*write(bench, "run", PASSES), "--nodes", "2", "--meet", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        _wait_for_listener(port)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, process.stderr.read() if process.stderr else ""
    assert not (bench.folder / "run/run.json").exists()


def test_a_step_that_cannot_be_shared_is_refused(bench: Workbench) -> None:
    config = bench.config(tables={"train": {"steps": 2, "batch_size": 1, "accumulation": 1}})
    place = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    with pytest.raises(InputError, match="make accumulation a multiple of 2, or batch_size at least 2"):
        DistributedGroup(config.train, config.resources.patience_s, Stop(), place)


def test_a_stop_that_was_asked_for_while_it_started_is_heard(bench: Workbench) -> None:
    stop = Stop()
    stop.asked = True
    place = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    said = train_in(bench.config(tables=PASSES), bench.folder / "run", stop, place)
    assert "stopped before the processes of the run had met" in said


def test_a_meeting_point_must_be_an_address(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="must be HOST:PORT"):
        launch_processes(tmp_path / "c.toml", tmp_path / "run", 1, Nodes(2, 0, "nowhere"), Stop())


def test_a_part_has_the_rows_of_every_tensor() -> None:
    whole = Noisy(torch.arange(8.0).view(4, 2), torch.arange(4), torch.ones(4, 2))
    half = select_rows(whole, slice(1, 4, 2))
    assert half.latents.tolist() == [[2.0, 3.0], [6.0, 7.0]] and half.timesteps.tolist() == [1, 3]


def _wait_for_step(log: Path, steps: int) -> None:
    deadline = time.monotonic() + 180
    while not log.exists() or log.read_text().count('"event": "step"') < steps:
        assert time.monotonic() < deadline, "the run made no steps"
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_listener(port: int) -> None:
    deadline = time.monotonic() + 120
    while f":{port} " not in subprocess.run(["ss", "-Hltn"], capture_output=True, text=True).stdout:
        assert time.monotonic() < deadline, "the run opened no meeting point"
        time.sleep(0.1)


def _second_process(parent: int) -> int:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    for child in map(int, children):
        if b"LOCAL_RANK=1" in Path(f"/proc/{child}/environ").read_bytes():
            return child
    raise AssertionError(f"no second process among {children}")
