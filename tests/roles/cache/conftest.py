"""Four hosts, one of them the cache, and the stand-in upstreams in their network."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomlkit

import lab
from lab import Lab
from lab import fleet as lab_fleet
from lab.upstreams.faults import Fault
from lab.upstreams.service import Folders, Ports

TREE = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Scene:
    """A fleet whose host h1 is the cache, and what its upstreams have."""

    lab: Lab
    folder: Path
    upstreams: Folders

    def write(self, models: list[dict[str, Any]], *, cached: bool = True, **tables: Any) -> Path:
        """The fleet's file; with `cached` its host h1 is the cache."""
        file = lab_fleet.write(self.lab, tables={"models": models, **tables}, file=self.folder / "fleet.toml")
        document = tomlkit.parse(file.read_text())
        if "apt" in document["mirrors"]:  # hosts that have an archive of their own need no proxy
            document["mirrors"].remove("apt_proxy")
        for host in self.lab.hosts:
            document["hosts"][host.name].update(
                {"internal": host.address, "groups": ["cache"] if cached and host.name == "h1" else []}
            )
        file.write_text(tomlkit.dumps(document))
        return file

    def sdfleet(self, verb: str, *more: str) -> tuple[int, str]:
        """Run the command line on the fleet; exit status and what it said."""
        command = [sys.executable, str(TREE / "sdfleet.py"), *verb.split(), "--fleet", str(self.folder / "fleet.toml")]
        environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
        done = subprocess.run(
            [*command, *more], capture_output=True, text=True, env=environment, timeout=300, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def set_faults(self, *faults: Fault) -> None:
        """Replace the upstreams' faults."""
        body = json.dumps([fault.model_dump() for fault in faults])
        done = self._control("-X", "PUT", "/faults", "-d", body)
        assert done.returncode == 0, done.stderr

    def sent(self) -> dict[str, int]:
        """Bytes of content that each upstream sent since `forget`."""
        done = self._control("/requests")
        assert done.returncode == 0, done.stderr
        total: dict[str, int] = {}
        for entry in json.loads(done.stdout):
            total[entry["server"]] = total.get(entry["server"], 0) + entry["sent"]
        return total

    def forget(self) -> None:
        """Begin counting anew."""
        assert self._control("-X", "DELETE", "/requests").returncode == 0

    def apply(self, *roles: str) -> str:
        """Apply these roles to every host; the test fails if that does. Returns what it said."""
        code, said = self.sdfleet("apply", *(word for role in roles for word in ("--role", role)))
        assert code == 0, said
        return said

    def clean(self) -> None:
        """Take the models away from every host."""
        for host in self.lab.hosts:
            self.lab.ssh(host.name, "rm -rf /srv/sdfleet/store /srv/sdfleet/data/webui/models")

    def _control(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        words = [
            f"http://{self.lab.gateway}:{Ports().control}{word}" if word[:1] == "/" else word for word in arguments
        ]
        return self.lab.run_in_netns(["curl", "-sf", "-m", "20", *words])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The hosts and their upstreams, without models yet."""
    folder = tmp_path_factory.mktemp("cache")
    upstreams = Folders(folder / "upstreams")
    with lab.attached(hosts=4) as running:
        serve = [sys.executable, "-m", "lab.upstreams", f"--root={upstreams.root}", f"--bind={running.gateway}"]
        with subprocess.Popen(running.enter(serve), cwd=TREE, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout and process.stdout.readline().startswith("ready")
                yield Scene(running, folder, upstreams)
            finally:
                process.terminate()
