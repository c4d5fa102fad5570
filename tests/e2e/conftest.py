"""Fixtures of the end-to-end tests: a lab with its upstreams, and the program that a person types."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from lab import Lab, box, layers
from tests.e2e.moving import moved_on
from tests.typed import Done, Hosts

TREE = Path(__file__).resolve().parents[2]
PROGRAM = "import sdfleet; sdfleet.main()"


@dataclass(frozen=True)
class Road(Hosts):
    """A lab's hosts, and the program run beside its folder."""

    def start(self, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
        """Start the program in the folder."""
        environment = {**os.environ, "PYTHONPATH": str(TREE), "COLUMNS": "200", "NO_COLOR": "1", **variables}
        return subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM, *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def sdfleet(self, *arguments: str, **variables: str) -> Done:
        """Run the program to its end."""
        began = time.monotonic()
        process = self.start(*arguments, **variables)
        text, _ = process.communicate(timeout=900)
        return Done(process.returncode, text, time.monotonic() - began)

    def record(self, run: str) -> dict[str, Any]:
        """The record of a fetched run."""
        found: dict[str, Any] = json.loads((self.folder / "runs" / run / "run.json").read_text())
        return found

    def watched(self, *arguments: str, **variables: str) -> tuple[Done, list[str]]:
        """Run the program to its end; beside it the command lines of all processes meanwhile, the hosts' among them."""
        seen: set[str] = set()
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(self.sdfleet, *arguments, **variables)
            while not done.done():
                for process in Path("/proc").glob("[0-9]*"):
                    with contextlib.suppress(OSError):
                        seen.add((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                time.sleep(0.1)
        return done.result(), sorted(seen)

    def killed(self, seconds: float, *arguments: str) -> None:
        """Start the program and kill it and all its children after `seconds`, if it still runs then."""
        process = self.start(*arguments)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        time.sleep(0.2)


def provision(lab: Lab, folder: Path) -> None:
    """A first apply to each host: to h2 later, when upstream's branches and tags had moved on."""
    hosts = Road(lab, folder)
    box.write_fleet(lab, hosts.file)
    first = hosts.sdfleet("apply", "--limit", "h1")
    assert first.code == 0, first.text
    with moved_on(hosts):
        second = hosts.sdfleet("apply", "--limit", "h2")
    assert second.code == 0, second.text
    print(f"first applies: h1 {first.seconds:.0f} s, h2 {second.seconds:.0f} s")


PROVISIONED = layers.Scene("road", 2, provision, (Path(__file__), Path(__file__).with_name("moving.py")))


@contextlib.contextmanager
def one_host(folder: Path, *groups: str, logins: str = "") -> Iterator[Road]:
    """A lab's host that is in these groups alone, with all of it applied.

    + logins: lines NAME:PASSWORD of its gateway
    """
    file = folder / "fleet.toml"
    with box.attached(hosts=1) as running:
        box.write_fleet(
            running, file, pinned=False, groups=[*box.GROUPS, *(["comfyui"] if "comfyui" in groups else [])]
        )
        document = tomlkit.parse(file.read_text())
        host = document["hosts"]["h1"]
        host["groups"] = list(groups)
        if "cache" in groups:
            host["internal"] = running.hosts[0].address
        if logins:
            (folder / "logins").write_text(f"{logins}\n")
            document["secrets"] = {"gateway_logins": {"file": "logins"}}
        file.write_text(tomlkit.dumps(document))
        box.pin(running, file)
        made = Road(running, folder)
        done = made.sdfleet("apply")
        assert done.code == 0, done.text
        yield made


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """Two provisioned hosts for the tests of one file."""
    folder = tmp_path_factory.mktemp("road")
    with layers.attached(PROVISIONED, folder) as running:
        yield Road(running, folder)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """Two bare hosts for the tests of one file, with all upstreams and their fleet.toml."""
    folder = tmp_path_factory.mktemp("bare")
    with box.attached(hosts=2) as running:
        box.write_fleet(running, folder / "fleet.toml")
        yield Road(running, folder)
