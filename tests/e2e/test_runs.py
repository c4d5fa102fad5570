"""Runs on real hosts with the real trainer: disturbed, made again, shared by two hosts."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from lab import photos
from lab.network import host_address
from tests.e2e.conftest import TREE, Road
from training.run.reproduce import compare_results

pytestmark = pytest.mark.lab

CONFIG = """
name = "ink"
[model]
checkpoint = "tiny-sd15"
[data]
folder = "set"
resolution = 64
[network]
rank = 4
alpha = 4
[train]
steps = 14
batch_size = 1
accumulation = 2
seed = 3
device = "cpu"
[save]
checkpoint_every_steps = 2
"""


@pytest.fixture(scope="module")
def config(road: Road) -> Iterator[str]:
    """A training config; the fleet's file says how hosts reach each other."""
    photos.write_training_set(road.folder / "set", 64)
    (road.folder / "runs.toml").write_text(CONFIG)
    whole = road.file.read_text()
    fleet = tomlkit.parse(whole)
    for number, name in enumerate(("h1", "h2"), start=1):
        fleet["hosts"][name]["trainer"] = {"address": host_address(number)}
    road.file.write_text(tomlkit.dumps(fleet))
    yield "runs.toml"
    road.file.write_text(whole)


@pytest.fixture(scope="module")
def calm(road: Road, config: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The record of an undisturbed run of an earlier clone of the project, whose trainer h2 never had."""
    clone = tmp_path_factory.mktemp("clone")
    listed = subprocess.run(["git", "ls-files"], cwd=TREE, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TREE / name, clone / name)
    with (clone / "training/loop/recipe.py").open("a") as recipe:
        recipe.write("# as it was last month\n")
    earlier = {"PYTHONPATH": str(clone)}
    assert road.sdfleet("apply", "--role", "trainer", "--limit", "h1", **earlier).code == 0
    done = road.sdfleet("train", "run", config, "--on", "h1", "--name", "calm", **earlier)
    assert done.code == 0, done.text
    assert "runs/calm/report.html" in done.text
    assert road.sdfleet("apply", "--role", "trainer", "--limit", "h1").code == 0
    return road.record("calm")


def wait_for_step(road: Road, host: str, run: str, step: int) -> None:
    """Until the run has logged so many steps on its host."""
    deadline = time.monotonic() + 400
    log = f"/srv/sdfleet/runs/{run}/log.jsonl"
    while int(road.lab.ssh(host, f'grep -c \'"step", "step"\' {log}').stdout or 0) < step:
        assert time.monotonic() < deadline, road.lab.ssh(host, f"journalctl -u lora-train@{run} --no-pager").stdout
        time.sleep(0.5)


def wait_until_sent(road: Road, run: str) -> None:
    """Until one of the hosts has started the run's unit: from then on it needs no controller."""
    deadline = time.monotonic() + 400
    started = f"systemctl show -P InvocationID lora-train@{run}"
    while not any(road.lab.ssh(host, started).stdout.strip() for host in ("h1", "h2")):
        assert time.monotonic() < deadline, f"the controller does not send {run}"
        time.sleep(0.5)


def test_three_runs_end_alike_though_controller_line_and_host_are_lost(
    road: Road, config: str, calm: dict[str, Any]
) -> None:
    for run in ("one", "two"):
        assert road.sdfleet("train", "run", config, "--name", run, "--no-follow").code == 0
    controller = road.start("train", "run", config, "--name", "three")
    listed = road.sdfleet("train", "list").text
    wait_until_sent(road, "three")
    wait_for_step(road, "h2", "two", 3)
    os.killpg(controller.pid, signal.SIGKILL)
    controller.wait()
    road.lab.cut_network("h1")
    road.lab.kill("h2")
    time.sleep(5)
    road.lab.start("h2")
    road.lab.restore_network("h1")
    assert "one" in listed and "two" in listed
    for run in ("one", "two", "three"):
        done = road.sdfleet("train", "follow", run)
        assert done.code == 0, done.text
    hashes = {run: road.record(run)["sha256"] for run in ("calm", "one", "two", "three")}
    assert len(set(hashes.values())) == 1, hashes
    assert len(road.record("two")["lives"]) == 2, "the run that was cut off went on"
    assert {road.record(run)["machine"]["host"] for run in hashes} == {"h1", "h2"}


def test_reproduced_on_the_other_host_and_a_changed_byte_is_named(road: Road, calm: dict[str, Any]) -> None:
    done = road.sdfleet("train", "reproduce", "calm", "--on", "h2")
    assert done.code == 0, done.text
    assert "building it from h1's copy of its code and lock" in done.text
    assert f"identical: both files have the sha256 {calm['sha256']}" in done.text
    now = road.on("h1", "basename $(readlink /srv/sdfleet/apps/trainer/current)")
    assert now != calm["code"]["release"], "an earlier clone made the first run"
    planned = road.sdfleet("plan", "--role", "trainer")
    assert [planned.cell(host, "to change") for host in ("h1", "h2")] == ["0", "0"], planned.text
    caption = next(Path(place) for place in calm["inputs"] if place.endswith(".txt"))
    road.on("h1", f"printf x >> /srv/sdfleet/runs/calm/{caption}")
    changed = road.sdfleet("train", "reproduce", "calm")
    assert changed.code == 3, changed.text
    assert changed.text.count("differs") == 1 and f"the caption {caption} has changed" in changed.text


def test_two_hosts_share_a_run_and_what_is_left_goes_on_alone(road: Road, calm: dict[str, Any]) -> None:
    (road.folder / "shared.toml").write_text(f'{CONFIG}\n[resources]\nhosts = ["h1", "h2"]\npatience_s = 20\n')
    assert road.sdfleet("train", "run", "shared.toml", "--name", "pair", "--no-follow").code == 0
    done = road.sdfleet("train", "follow", "pair")
    assert done.code == 0, done.text
    pair = road.record("pair")
    assert pair["lives"][-1]["processes"] == 2
    files = [road.folder / f"runs/{run}/output/ink.safetensors" for run in ("calm", "pair")]
    verdict = compare_results(calm, pair, *files)
    print(f"2 hosts: {pair['seconds']} s, 1 process: {calm['seconds']} s; {verdict.sentence()}")
    # Bits are promised for as many processes only.
    assert verdict.weights is not None and verdict.weights < 1e-5

    more = ("--name", "torn", "--no-follow", "--set", "train.steps=200")
    assert road.sdfleet("train", "run", "shared.toml", *more).code == 0
    wait_for_step(road, "h1", "torn", 3)
    road.lab.kill("h2")
    try:
        torn = road.sdfleet("train", "follow", "torn", "--on", "h1")
        assert torn.code == 1 and "lost another one" in torn.text, torn.text
        went_on = road.sdfleet("train", "resume", "torn", "--on", "h1", "--no-follow")
        assert went_on.code == 0, went_on.text
        wait_for_step(road, "h1", "torn", 6)
        assert road.sdfleet("train", "stop", "torn", "--on", "h1").code == 0
        assert road.sdfleet("train", "fetch", "torn", "--on", "h1").code == 0
        found = road.record("torn")
        assert found["ended"]["how"] == "stopped" and [life["processes"] for life in found["lives"]] == [2, 1]
    finally:
        road.lab.start("h2")
    road.sdfleet("train", "stop", "torn", "--on", "h2")
