"""The program and its page in a browser, on hosts that are folders of this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.deploy.dashboard.looking import flawless, points, printed_url
from tests.deploy.dashboard.scene import Painter
from tests.deploy.dashboard.test_collector import drawn, steps
from tests.deploy.fake_hosts import FakeHosts, fakes
from tests.deploy.test_run_states import ACTIVE, TRAINS, run_of

pytestmark = pytest.mark.slow

__all__ = ["fakes"]

TREE = Path(__file__).resolve().parents[3]
PROGRAM = f"import sys; sys.path.insert(0, {str(TREE)!r}); import sdfleet; sdfleet.main()"
SECONDS = 20_000
"""How long the page may take to show something, in ms: a host is asked every three seconds."""


@pytest.fixture
def training(fakes: FakeHosts) -> Path:
    """A fleet with h1, on which a run named ink trains, and h2; returns the run's folder."""
    folder = run_of(fakes, ACTIVE, steps(1.0, 0.8, 0.7), turn_state=TRAINS)
    (folder / "samples").mkdir()
    (folder / "samples/ink-00000005-00.png").write_bytes(Painter().sample("ink", "00000003-00")[0])
    text = fakes.file.read_text()
    fakes.write({"h2": "train"})
    fakes.file.write_text(text + fakes.file.read_text().partition("\n\n")[2])
    return folder


@pytest.fixture
def served(fakes: FakeHosts, training: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The program at work, and the URL that it printed."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", PROGRAM, "dashboard", "--fleet", str(fakes.file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
        start_new_session=True,
    )
    try:
        yield process, printed_url(process, 2)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with flawless(tmp_path) as opened:
        yield opened


def test_a_run_goes_on_and_a_host_is_lost(
    fakes: FakeHosts, training: Path, served: tuple["subprocess.Popen[str]", str], page: Page
) -> None:
    page.goto(served[1])
    hosts = page.locator("#hosts")
    expect(page.locator("#fleet")).to_have_text("x")
    expect(page.locator("#live")).to_contain_text("live")
    expect(hosts.locator("[data-host=h1]")).to_contain_text("missing: hub", timeout=SECONDS)
    expect(page.locator("[data-run=ink]")).to_contain_text("3 of 9", timeout=SECONDS)
    assert points(page, "ink") == 3

    hostile = "<img src=x onerror=alert(1)>"
    with (training / "log.jsonl").open("a") as log:
        log.write(f"{steps(0.6, 0.5, first=4)}\n{drawn('ink-00000005-00.png', step=5, prompt=hostile)}\n")
    expect(page.locator("[data-run=ink]")).to_contain_text("5 of 9", timeout=SECONDS)
    assert points(page, "ink") == 5
    expect(page.locator("figcaption")).to_have_text(hostile)
    assert page.locator("figure img").get_attribute("alt") == hostile
    expect(page.locator("figure img")).to_have_js_property("naturalWidth", 256, timeout=SECONDS)

    (fakes.host("h2") / "away").touch()
    expect(hosts.locator("[data-host=h2]")).to_contain_text("unreachable", timeout=SECONDS)
    expect(hosts.locator("[data-host=h2]")).to_contain_text("No route to host")
    expect(hosts.locator("[data-host=h2]")).to_contain_text("what it said then")
    expect(page.locator("#summary")).to_contain_text("1 of 2 hosts answer")
    expect(page.locator("#news")).to_contain_text("No route to host")
    assert page.title() == "(2) x · sdfleet", "h1 misses a model, h2 is lost"

    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_at_once_and_leaves_nothing(
    number: signal.Signals, fakes: FakeHosts, served: tuple["subprocess.Popen[str]", str]
) -> None:
    import requests

    process, url = served
    slow = fakes.folder / "programs/ssh"
    slow.write_text('#!/bin/sh\n[ "$2" = none ] || exec sleep 60\n')
    with requests.Session() as reader:
        place = reader.get(url, timeout=5).url
        with reader.get(f"{place}events", stream=True, timeout=5):
            time.sleep(4)  # until it asks a host again, which does not answer
            began = time.monotonic()
            process.send_signal(number)
            text, _ = process.communicate(timeout=10)
            took = time.monotonic() - began
    assert (process.returncode, text) == (0, "")
    assert took < 5, "a second, and what a busy machine takes; the host would answer in a minute"
    left = subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, text=True).stdout.split()
    assert left == []


def test_the_port_is_said_if_it_is_taken(fakes: FakeHosts, served: tuple["subprocess.Popen[str]", str]) -> None:
    port = served[1].partition("/?")[0].rpartition(":")[2]
    done = fakes.sdfleet("dashboard", "--port", port)
    assert done.exit_code == 2
    assert f"--port: port {port} is taken; choose another" in done.output
