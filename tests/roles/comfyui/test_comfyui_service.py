"""The program that runs ComfyUI as a service, and the picture that it is asked for."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from roles.onhost import comfyui_api, comfyui_picture, host_use, services
from roles.onhost.png_pixels import PictureError, distinct_colours
from roles.onhost.served_process import free_port
from tests import onhost

FAKE = Path(__file__).parents[1] / "fake_comfyui.py"
PATIENCE = 60
"""Seconds that a start, a message or an end may take on a busy machine."""
Start = Callable[..., int]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """With a picture of noise; there is a checkpoint once `checkpoint` exists."""
    Image.effect_noise((64, 64), 80).convert("RGB").save(tmp_path / "noise.png")
    return {"FAKE_PICTURE": str(tmp_path / "noise.png"), "FAKE_CHECKPOINT": str(tmp_path / "checkpoint")}


@pytest.fixture
def comfyui(tmp_path: Path, environment: dict[str, str]) -> Iterator[Start]:
    """Starts one, with what becomes of its orders; its port."""
    started: list[subprocess.Popen[bytes]] = []

    def start(fate: str) -> int:
        (tmp_path / "checkpoint").touch()
        port = free_port()
        variables = {**os.environ, **environment, "FAKE_FATE": fate}
        process = subprocess.Popen(["python3", FAKE, "--port", str(port)], env=variables, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout and b"To see the GUI" in process.stdout.readline()
        return port

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _graph() -> dict[str, Any]:
    return comfyui_picture.graph("b.safetensors", "an apple", 1, 1)


def test_the_picture_is_drawn_before_others_and_leaves_no_trace(comfyui: Start) -> None:
    port = comfyui("drawn")
    assert distinct_colours(comfyui_picture.draw(port, PATIENCE, _graph())) > 2
    (path, order), (_, forgotten) = comfyui_api.ask(port, "/asked")
    assert (path, order["front"], forgotten) == ("/prompt", True, {"delete": ["order-1"]})
    nodes = {node["class_type"]: node["inputs"] for node in order["prompt"].values()}
    assert nodes["CheckpointLoaderSimple"] == {"ckpt_name": "b.safetensors"} and nodes["KSampler"]["cfg"] == 1


def test_the_same_picture_is_asked_for_in_a_way_that_no_cache_answers() -> None:
    one, other = _graph(), _graph()
    differing = [number for number in one if one[number] != other[number]]
    assert [one[number]["class_type"] for number in differing] == ["CLIPTextEncode"]
    [sampler] = [node["inputs"] for node in one.values() if node["class_type"] == "KSampler"]
    assert sampler["negative"] == [differing[0], 0], "what may not differ is the text of the picture"


@pytest.mark.parametrize(
    ("fate", "said"),
    [
        ("refused", "Prompt outputs failed validation; CheckpointLoaderSimple: Value not in list: ckpt_name: 'a'"),
        ("failed", "ComfyUI drew nothing: KSampler: torch.OutOfMemoryError: CUDA out"),
    ],
)
def test_why_nothing_is_drawn_is_told(comfyui: Start, fate: str, said: str) -> None:
    with pytest.raises(PictureError) as error:
        comfyui_picture.draw(comfyui(fate), PATIENCE, _graph())
    assert said in str(error.value)


def test_an_order_that_takes_too_long_is_given_up(comfyui: Start) -> None:
    port = comfyui("never")
    with pytest.raises(PictureError, match="ComfyUI drew nothing in time"):
        comfyui_picture.draw(port, 1, _graph())
    assert comfyui_api.waiting(port) == 0


def test_a_host_is_in_use_while_it_draws(comfyui: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {"ActiveState": "active", "NRestarts": "0"}
    monkeypatch.setattr(services, "shown", lambda unit, *names: shown)
    port = comfyui("drawn")
    use = host_use.Use(tmp_path, {"webui": 0, "comfyui": port})
    assert list(use._pictures("comfyui")) == []
    comfyui_api.tell(port, "/prompt", {"prompt": _graph()})
    assert list(use._pictures("comfyui")) == ["ComfyUI has drawn"] and list(use._pictures("comfyui")) == []
    busy = comfyui("never")
    comfyui_api.tell(busy, "/prompt", {"prompt": _graph()})
    use_of_busy = host_use.Use(tmp_path, {"comfyui": busy})
    assert list(use_of_busy._pictures("comfyui")) == ["ComfyUI draws, or has in its queue, 1 picture(s)"]
    shown["ActiveState"] = "activating"
    assert list(use._pictures("comfyui")) == ["ComfyUI starts"]


class Started:
    """A running service with the socket that systemd would listen on."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        shutil.copy(FAKE, folder / "main.py")
        self.state_file = folder / "state.json"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / "notify"))
        self.socket.settimeout(PATIENCE)
        self.port = free_port()
        command = onhost.words("comfyui_service", "--port", self.port, "--state", self.state_file)
        command += ["--release", "r1", "--fingerprint", "f1", "--device", "cpu", "--start-timeout", str(PATIENCE), "--"]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment, "NOTIFY_SOCKET": str(folder / "notify")},
            start_new_session=True,
        )

    def told(self) -> str:
        """The next message to systemd."""
        return self.socket.recv(4096).decode()

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.state_file.read_text())
        return found


@pytest.fixture
def service(tmp_path: Path, environment: dict[str, str]) -> Iterator[Started]:
    started = Started(tmp_path, environment)
    yield started
    if started.process.poll() is None:
        os.killpg(started.process.pid, signal.SIGKILL)
    started.process.wait()
    started.socket.close()


@pytest.mark.slow
def test_it_waits_for_a_checkpoint_and_then_draws(tmp_path: Path, service: Started) -> None:
    assert service.told() == "STATUS=starting"
    assert service.told() == "STATUS=no checkpoint yet: put one into the fleet's models\nREADY=1"
    assert comfyui_api.waiting(service.port) == 0, "the port is open when it is ready"
    (tmp_path / "checkpoint").touch()
    assert service.told().startswith("STATUS=drew its first picture in ")
    state = service.state()
    assert (state["ready"], state["release"], state["problem"]) == (True, "r1", "")
    began = time.monotonic()
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(PATIENCE) == 0 and time.monotonic() - began < 10
