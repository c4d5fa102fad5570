"""The page of two real hosts: a run trains on one while an update goes over both."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomlkit
from playwright.sync_api import expect

from tests.deploy.dashboard.looking import flawless, points, printed_url
from tests.deploy.dashboard.scene import Painter
from tests.light import fleet
from tests.light.fleet import ROOT, LightFleet

pytestmark = pytest.mark.lab

SECONDS = 60_000
"""How long the page may take to show something, in ms, on a machine that is busy with other tests."""
TRAINING = """
import json, time
log = open("log.jsonl", "a", buffering=1)
for step in range(1, 1001):
    print(json.dumps({"event": "step", "step": step, "steps": 1000, "loss": 100 / step, "it_per_s": 5.0}), file=log)
    if step == 5:
        print(json.dumps({"event": "sample", "step": 5, "file": "ink-00000005-00.png", "prompt": "a cat"}), file=log)
    time.sleep(0.2)
"""
"""What a run does, without torch: it has the unit of a run, and writes a run's log and picture."""


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightFleet]:
    """Two hosts with the light WebUI; the first one has a run."""
    with fleet.running(tmp_path_factory.mktemp("dashboard"), 2) as running:
        folder = running.lab.root("h1") / f"{ROOT}/runs/ink".lstrip("/")
        (folder / "samples").mkdir(parents=True)
        (folder / "config.toml").write_text('name = "ink"\n')
        (folder / "train.py").write_text(TRAINING)
        (folder / "samples/ink-00000005-00.png").write_bytes(Painter().sample("ink", "00000005-00")[0])
        yield running


@pytest.fixture
def shown(light: LightFleet) -> Path:
    """A fleet.toml by which the first host trains too; it is only looked at with it."""
    document = tomlkit.parse(light.file.read_text())
    document["hosts"]["h1"]["groups"] = ["webui", "train"]
    file = light.folder / "shown.toml"
    file.write_text(tomlkit.dumps(document))
    return file


def connections(light: LightFleet) -> list[str]:
    """The ssh processes in the lab's network."""
    mine = Path(f"/proc/{light.lab.pid}/ns/net").readlink()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text() == "ssh\n" and (process / "ns/net").readlink() == mine:
                found.append(process.name)
        except OSError:
            continue
    return found


def test_a_run_trains_while_an_update_goes_on(light: LightFleet, shown: Path, tmp_path: Path) -> None:
    folder = f"{ROOT}/runs/ink"
    light.on("h1", f"systemd-run --quiet --unit=lora-train@ink -p WorkingDirectory={folder} python3 train.py")
    program = light.start("dashboard", "--fleet", str(shown))
    try:
        url = printed_url(program, 2)
        with flawless(tmp_path, light.lab.enter) as page:
            page.goto(url)
            run, update = page.locator("[data-run=ink]"), page.locator("#update")
            expect(page.locator("#summary")).to_contain_text("2 of 2 hosts answer", timeout=SECONDS)
            expect(page.locator("#summary")).to_contain_text("1 training", timeout=SECONDS)
            expect(run).to_contain_text("of 1000", timeout=SECONDS)
            drawn = points(page, "ink")

            light.publish("good", 2)
            updating = light.start("update", "webui", "--limit", "h2")
            expect(update).to_contain_text("in work", timeout=SECONDS)
            said, _ = updating.communicate(timeout=200)
            assert updating.returncode == 0, said
            expect(update).to_contain_text("1 of 1 passed", timeout=SECONDS)
            release = light.release("h2")
            expect(page.locator("[data-host=h2]")).to_contain_text(release, timeout=SECONDS)
            expect(page.locator("#releases")).to_contain_text(release, timeout=SECONDS)
            expect(page.locator("#news")).to_contain_text(f"the WebUI's release is now {release}")
            assert points(page, "ink") > drawn, "the curve does not grow while an update goes on"
            expect(page.locator("figcaption")).to_have_text("a cat")
            expect(page.locator("figure img")).to_have_js_property("naturalWidth", 256, timeout=SECONDS)

            light.on("h1", "systemctl stop lora-train@ink")
            expect(page.locator("#ended")).to_contain_text("stopped", timeout=SECONDS)
        assert len(connections(light)) >= 2, "a connection for each host stays open"
        light.lab.cut_network("h2")
        time.sleep(4)  # until it is asked again, and answers nothing
        began = time.monotonic()
        program.send_signal(signal.SIGINT)
        said, _ = program.communicate(timeout=20)
        assert (program.returncode, said) == (0, "")
        assert time.monotonic() - began < 5, "a second, and what a busy machine takes"
        assert connections(light) == []
    finally:
        light.lab.restore_network("h2")
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)
            program.communicate()
