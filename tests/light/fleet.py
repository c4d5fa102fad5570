"""The light fleet: a lab whose hosts all run the light WebUI, and the program, run where it reaches all of it."""

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit

from deploy import units
from lab import Lab, layers, locks, tokenizer
from lab import fleet as lab_fleet
from lab.box import UPSTREAMS
from lab.state import Rented
from lab.upstreams.control import Control
from lab.upstreams.faults import Fault
from lab.upstreams.repositories import publish
from lab.upstreams.service import Folders
from tests.typed import Done, Hosts

TREE = Path(__file__).resolve().parents[2]
CODE = [Path(__file__).with_name(name) for name in ("launch.py", "light_page.py")]
"""What the light WebUI is made of."""
PROGRAM = f"import sys; sys.path.insert(0, {str(TREE)!r}); import sdfleet; sdfleet.main()"
REPOSITORY = "sdfleet-lab/light-webui"
MODELS = "sdfleet-lab/light-models"
ROOT = "/srv/sdfleet"
MIXED_ROOT = "/workspace/sdfleet"
"""The data root of all hosts where some are containers: on the data disk of RunPod's and vast.ai's."""
INVOCATION = f"systemctl show -P InvocationID {units.WEBUI}"
STATE = f"/run/sdfleet-supervisor/state/{units.WEBUI}.json"
PORT = 7860
BOOTED_SECONDS = 120
"""How long a container's WebUI may take to be ready after the container's start."""


@dataclass(frozen=True)
class LightFleet(Hosts):
    """A lab's hosts with the light WebUI, and the program run inside the lab's network."""

    @property
    def hosts(self) -> list[str]:
        """Names of its hosts."""
        return [host.name for host in self.lab.hosts]

    @property
    def containers(self) -> list[str]:
        """Names of those that have no systemd."""
        return [host.name for host in self.lab.hosts if host.rented]

    @property
    def root(self) -> str:
        """The data root of its hosts."""
        return MIXED_ROOT if self.containers else ROOT

    @property
    def faults(self) -> Control:
        """Switch for what goes wrong upstream."""
        return Control(self.lab.service_url(UPSTREAMS))

    def publish(self, fate: str, number: int) -> str:
        """Make a release with that fate the newest one upstream; its commit."""
        files = {file.name: file.read_bytes() for file in CODE}
        files |= {"fate": fate.encode(), "number": str(number).encode()}
        return publish(Folders(self.lab.folder.upstreams).git / f"{REPOSITORY}.git", files, f"{fate} {number}")

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start the program inside the lab's network, where hosts and upstreams are both in reach."""
        environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
        return subprocess.Popen(
            self.lab.enter([sys.executable, "-P", "-c", PROGRAM, *arguments]),
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def sdfleet(self, *arguments: str, timeout: float = 400) -> Done:
        """Run the program to its end, or end it after `timeout` s."""
        began = time.monotonic()
        process = self.start(*arguments)
        try:
            text, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            text, _ = process.communicate()
            raise AssertionError(f"sdfleet {' '.join(arguments)} took longer than {timeout:g} s:\n{text}") from None
        return Done(process.returncode, text, time.monotonic() - began)

    def release(self, host: str) -> str:
        """Name of the release in use."""
        return self.on(host, f"basename $(readlink {self.root}/apps/webui/current)")

    def process(self, host: str) -> str:
        """What changes when the WebUI is restarted: boot and process."""
        if host in self.containers:
            return str(json.loads(self.on(host, f"cat {STATE}"))["invocation"])
        return self.on(host, INVOCATION)

    def until_ready(self, host: str, seconds: float) -> str:
        """The release that serves, once it is ready; AssertionError if that takes longer."""
        look = f"cat /run/sdfleet-webui/state.json && curl -fsS -o /dev/null -m 5 http://127.0.0.1:{PORT}/"
        deadline = time.monotonic() + seconds
        while (done := self.lab.ssh(host, look)).returncode or not json.loads(done.stdout)["ready"]:
            assert time.monotonic() < deadline, f"{host} does not serve after {seconds:g} s: {done.stdout}"
            time.sleep(0.5)
        release: str = json.loads(done.stdout)["release"]
        return release

    def change(self, name: str, **tables: Any) -> Path:
        """A fleet.toml beside the first one, with other values in some tables; its lock begins as the first one's."""
        document = tomlkit.parse(self.file.read_text())
        for table, values in tables.items():
            if isinstance(values, dict):
                document.setdefault(table, tomlkit.table()).update(values)
            else:
                document[table] = values
        file = self.folder / f"{name}.toml"
        file.write_text(tomlkit.dumps(document))
        file.with_suffix(".lock").write_text(self.file.with_suffix(".lock").read_text())
        return file


@contextlib.contextmanager
def running(folder: Path, hosts: int, containers: Sequence[Rented] = ()) -> Iterator[LightFleet]:
    """A light fleet after a first apply, for the length of a `with` block."""
    with layers.attached(provisioned(*containers), folder, hosts) as lab:
        light = LightFleet(lab, folder)
        _trust(light)
        for name in light.containers:
            light.until_ready(name, BOOTED_SECONDS)
        yield light


def written(lab: Lab, folder: Path) -> LightFleet:
    """A light fleet in a lab with bare hosts: what its upstreams serve, fleet.toml and fleet.lock."""
    light = LightFleet(lab, folder)
    light.publish("good", 1)
    _write_models(Folders(lab.folder.upstreams))
    _write_fleet(light)
    return light


def provisioned(*containers: Rented) -> layers.Scene:
    """One host after a first apply, and containers beside it."""
    name = "-".join(["light", *(container.provider for container in containers)])
    return layers.Scene(name, 1, _provision, tuple(sorted(Path(__file__).parent.glob("*.py"))), containers)


def _provision(lab: Lab, folder: Path) -> None:
    light = written(lab, folder)
    _trust(light)
    done = light.sdfleet("apply")
    assert done.code == 0, done.text


PROVISIONED = provisioned()


def _trust(light: LightFleet) -> None:
    """Leave the lab's key in its containers, by their passwords."""
    for name in light.containers:
        done = light.sdfleet("trust", name)
        assert done.code == 0, done.text


def _write_models(folders: Folders) -> None:
    for name in ("light", "second"):
        file = folders.hub / MODELS / "main" / f"{name}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        head = json.dumps({"weight": {"dtype": "U8", "shape": [4096], "data_offsets": [0, 4096]}}).encode()
        file.write_bytes(struct.pack("<Q", len(head)) + head + name.encode().ljust(4096, b"."))
    for name, data in tokenizer.tokenizer_files().items():
        file = folders.hub / tokenizer.REPOSITORY / "main" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def _write_fleet(light: LightFleet) -> None:
    lock = light.folder / "webui.lock.txt"
    lock.write_text(locks.lock(light.lab, "idna==3.10\n").read_text())
    webui = {
        "repository": f"https://github.com/{REPOSITORY}.git",
        "ref": "master",
        "device": "cpu",
        "requirements": lock.name,
        "repositories": {},
        "packages": {},
        "start_timeout": 10,
        "port": PORT,
    }
    tables: dict[str, Any] = {
        "base": {"packages": ["git", "python3", "python3-venv"], "min_free_gb": 0.1},
        "webui": webui,
        "models": [{"name": "light", "kind": "checkpoint", "source": f"hf:{MODELS}/light.safetensors"}],
    }
    lab_fleet.write(light.lab, ("webui",), tables, light.file)
    document = tomlkit.parse(light.file.read_text())
    document["fleet"]["rollout"] = {"batch": "50%", "stable_seconds": 2, "picture_seconds": 10}
    document["fleet"]["data_root"] = light.root
    for host in light.lab.hosts:
        document["hosts"][host.name].update(lab_fleet.place(light.lab, host, inside=True))
    light.file.write_text(tomlkit.dumps(document))
    done = light.sdfleet("lock")
    assert done.code == 0, done.text


def dead(server: str) -> Fault:
    """An upstream that refuses every connection."""
    return Fault(kind="dead", server=server)
