"""A lab host with a card, a stand-in of NVIDIA's repository in its network, and apply."""

import contextlib
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.engine.client import engine_events
from deploy.engine.events import Finished, HostResult, Request
from inventory.load import load
from lab import Lab, apt, attached, fleet, gpus
from lab.network import GATEWAY, NVIDIA_PORT, NVIDIA_URL
from lab.state import Service
from roles.facts.gpu_probe import parse_probe, probe_command
from roles.facts.gpu_state import HostGpus

HOST = "h1"
OLD, NEW, LATER, OTHER_BRANCH = "580.82.07", "580.95.05", "580.105.08", "590.44.01"


@dataclass
class Applied:
    """What one apply came to."""

    result: HostResult
    changed: list[str] = field(default_factory=list)
    """Names of the operations that changed something."""


@dataclass
class Server:
    """The host under test."""

    lab: Lab
    repository: apt.Repository
    distribution: apt.Repository
    folder: Path

    def apply(self, **gpu: object) -> Applied:
        """Apply the GPU role with these settings."""
        settings = {"repository": NVIDIA_URL, "fingerprint": self.repository.fingerprint, **gpu}
        file = fleet.write(self.lab, tables={"gpu": settings}, file=self.folder / "fleet.toml")
        request = Request(fleet=str(file), hosts=(HOST,), roles=("gpu",), apply=True)
        events = list(engine_events(load(file), request))
        changed = [e.operation for e in events if isinstance(e, Finished) and e.result == "changed"]
        return Applied(next(e for e in events if isinstance(e, HostResult)), changed)

    def equip(self, *devices: int, **more: Any) -> None:
        """Put cards in; `more` is for `lab.gpus.equip`."""
        root = self.lab.root(HOST)
        gpus.equip(root, devices, **more)
        source = f"deb [trusted=yes] {NVIDIA_URL}/{apt.DISTRIBUTION_SUITE}/ /\n"
        (root / "etc/apt/sources.list").write_text(source)

    def run(self, command: str) -> str:
        """What a command prints; the test fails if it does."""
        done = self.lab.ssh(HOST, command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    @property
    def state(self) -> HostGpus:
        """What the facts say of it now."""
        return parse_probe(self.run(probe_command()).splitlines())

    def by_hand(self, *packages: str) -> None:
        """Install packages as a person would before sdfleet ever came, and load the module."""
        url = f"{NVIDIA_URL}/{apt.NVIDIA_SUITE}/"
        self.run(f"echo 'deb [trusted=yes] {url} /' >/etc/apt/sources.list.d/by-hand.list; apt-get -q update")
        headers = f"linux-headers-{gpus.KERNEL}"
        self.run(f"apt-get -q -y install {headers} && apt-get -q -y install {' '.join(packages)} && modprobe nvidia")


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-ins for NVIDIA's repository, with two branches, and for Debian's archive; each test has a copy."""
    root = tmp_path_factory.mktemp("apt")
    nvidia = apt.Repository(root)
    nvidia.publish([*apt.driver(NEW), *apt.driver(OTHER_BRANCH), apt.container_toolkit()])
    apt.Repository(root, apt.DISTRIBUTION_SUITE).publish([apt.dkms(), apt.headers(gpus.KERNEL)])
    nvidia.close()
    return root


@pytest.fixture
def server(archive: Path, tmp_path: Path) -> Iterator[Server]:
    """A fresh host."""
    root = tmp_path / "apt"
    shutil.copytree(archive, root, ignore=shutil.ignore_patterns("S.*"))  # sockets of gpg's agent
    repository, distribution = apt.Repository(root), apt.Repository(root, apt.DISTRIBUTION_SUITE)
    listen = (str(NVIDIA_PORT), "--bind", GATEWAY, "--directory", str(root))
    command = (sys.executable, "-m", "http.server", *listen)
    with (
        contextlib.closing(repository),
        attached(hosts=1, services=[Service(name="nvidia", command=command, port=NVIDIA_PORT)]) as lab,
    ):
        yield Server(lab, repository, distribution, tmp_path)
