"""The road's end: a LoRA trained on one host changes the pictures of both."""

import json
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.demo import difference, draw
from lab import photos
from tests.e2e.conftest import Road
from tests.roles import hardening

pytestmark = pytest.mark.lab

PROMPT = "a photograph of a cat"
WEBUI_PID = "systemctl show -P MainPID sdfleet-webui"
CONFIG = """
name = "ink"
[model]
checkpoint = "tiny-sd15"
[data]
folder = "photos"
resolution = 64
[network]
rank = 4
alpha = 4
[optimizer]
learning_rate = 2e-3
[train]
steps = 30
batch_size = 1
seed = 1
device = "cpu"
"""


@pytest.fixture(scope="module")
def config(road: Road) -> Path:
    photos.write_training_set(road.folder / "photos", 64)
    file = road.folder / "train.toml"
    file.write_text(CONFIG)
    return file


@pytest.fixture(scope="module")
def watched(road: Road, config: Path) -> str:
    """A run that has ended; what was printed to the one who stopped watching it."""
    process = road.start("train", "run", config.name, "--on", "h1", "--name", "ink")
    deadline = time.monotonic() + 120
    while road.lab.ssh("h1", "systemctl is-active lora-train@ink").returncode:
        assert time.monotonic() < deadline and process.poll() is None, "the run never began"
        time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=60)
    done = road.sdfleet("train", "follow", "ink")
    assert done.code == 0, done.text
    return text


@dataclass(frozen=True)
class Published:
    """The WebUIs before the run's LoRA was published."""

    pictures: dict[str, bytes]
    pid: str
    """Of the WebUI of h2."""
    text: str
    """What `train publish` said."""


@pytest.fixture(scope="module")
def published(road: Road, watched: str) -> Published:
    """The run's LoRA is on both hosts."""
    before = {host: draw(road.fleet, host, [PROMPT])[0] for host in road.fleet.hosts}
    pid = road.on("h2", WEBUI_PID)
    done = road.sdfleet("train", "publish", "ink")
    assert done.code == 0, done.text
    return Published(before, pid, done.text)


def test_a_run_survives_the_one_who_watches_it(road: Road, watched: str) -> None:
    assert "sdfleet train follow ink" in watched
    log = [json.loads(line) for line in (road.folder / "runs/ink/log.jsonl").read_text().splitlines()]
    assert log[-1]["event"] == "end"
    assert {entry["step"] for entry in log if entry["event"] == "step"} == set(range(1, 31))


def test_the_published_lora_changes_pixels_and_weight_0_does_not(road: Road, published: Published) -> None:
    assert (road.folder / "runs/ink/output/ink.safetensors").exists()
    for host, before in published.pictures.items():
        at_one, at_zero = draw(road.fleet, host, [f"{PROMPT} <lora:ink:{weight}>" for weight in (1, 0)])
        assert difference(before, at_one) > 0.5
        assert difference(before, at_zero) == 0
    assert road.on("h2", WEBUI_PID) == published.pid, "publishing must not restart the WebUI"


def test_publishing_shows_what_each_webui_makes_of_it(road: Road, published: Published) -> None:
    for host in road.fleet.hosts:
        assert re.search(
            rf"^{host} WebUI applies it: .* changes by \d+\.\d of 255, at weight 0 by 0\.0$", published.text, re.M
        )
    run = road.folder / "runs/ink"
    assert len(list((run / "published").glob("*.png"))) == 6
    assert (run / "report.html").read_text().count("weight 0: 0.0") == 2


@pytest.mark.usefixtures("published")
def test_a_published_lora_is_no_drift(road: Road) -> None:
    done = road.sdfleet("apply")
    assert {host: done.cell(host, "changed") for host in ("h1", "h2")} == {"h1": "0", "h2": "0"}, done.text


def test_tensorboard_answers_on_loopback_from_within_its_confines(road: Road) -> None:
    port = road.fleet.hosts["h1"].trainer.tensorboard_port
    road.on("h1", "systemctl start sdfleet-tensorboard")
    asked = f"curl -s -f --retry 120 --retry-delay 1 --retry-all-errors http://127.0.0.1:{port}/data/environment"
    assert json.loads(road.on("h1", asked))["data_location"] == str(road.fleet.hosts["h1"].paths.runs)
    assert road.on("h1", f"ss -Hltn 'sport = :{port}'").split()[3] == f"127.0.0.1:{port}"
    assert not road.on("h1", "journalctl -u sdfleet-tensorboard --no-pager --output=cat | grep -i denied || true")
    road.on("h1", "systemctl stop sdfleet-tensorboard")


def test_the_units_are_hardened(road: Road) -> None:
    found = hardening.on_host(road, "h1")
    assert {"lora-train@.service", "sdfleet-tensorboard.service", "sdfleet-webui.service"} <= found.keys()
