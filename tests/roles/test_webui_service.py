"""The program that runs a WebUI as a service: what systemd is told, what it leaves in its state file, how it ends."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from roles.onhost import served_process
from roles.onhost.png_pixels import PictureError, distinct_colours
from roles.onhost.served_process import ServedProcess, ServiceError, free_port
from roles.onhost.webui_picture import as_png
from tests import onhost
from tests.deploy.doctor.test_failures import recognised

pytestmark = pytest.mark.slow

PATIENCE = 90
"""Seconds that a start, a message or an end may take on a busy machine."""


class Started:
    """A running service with the socket that systemd would listen on."""

    def __init__(self, folder: Path, port: int = 0, **settings: str) -> None:
        shutil.copy(Path(__file__).with_name("fake_webui.py"), folder / "launch.py")
        self.checkpoint, self.state_file = folder / "checkpoint", folder / "state.json"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / "notify"))
        self.port = port or free_port()
        settings = {"FAKE_CHECKPOINT": str(self.checkpoint), "NOTIFY_SOCKET": str(folder / "notify"), **settings}
        command = onhost.words("webui_service", "--port", self.port, "--state", self.state_file)
        command += ["--release", "r1", "--fingerprint", "f1", "--device", "cpu", "--start-timeout", str(PATIENCE)]
        command += ["--config", str(folder / "config.json"), "--options", str(folder / "options.json"), "--"]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def told(self) -> str:
        """The next message to systemd."""
        self.socket.settimeout(PATIENCE)
        return self.socket.recv(4096).decode()

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.state_file.read_text())
        return found

    def output(self) -> str:
        return self.process.communicate(timeout=PATIENCE)[0]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "picture.png"
    Image.effect_noise((64, 64), 80).convert("RGB").save(file)
    return file


@pytest.fixture
def services() -> Iterator[list[Started]]:
    started: list[Started] = []
    yield started
    for service in started:
        with contextlib.suppress(ProcessLookupError):  # the WebUI too, which outlives a service that is killed
            os.killpg(service.process.pid, signal.SIGKILL)
        service.process.wait()
        service.socket.close()


def test_ready_after_the_first_picture(tmp_path: Path, picture: Path, services: list[Started]) -> None:
    (tmp_path / "checkpoint").touch()
    services.append(service := Started(tmp_path, FAKE_PICTURE=str(picture)))
    assert service.told() == "STATUS=starting"
    assert service.told().endswith("READY=1")
    state = service.state()
    assert (state["ready"], state["release"], state["fingerprint"], state["problem"]) == (True, "r1", "f1", "")
    assert len(state["picture"]["sha256"]) == 64
    service.process.send_signal(signal.SIGTERM)
    output = service.output()
    assert service.process.returncode == 0
    assert "Cannot add middleware" not in output


def test_without_a_checkpoint_it_is_ready_and_says_what_is_missing(
    tmp_path: Path, picture: Path, services: list[Started]
) -> None:
    services.append(service := Started(tmp_path, FAKE_PICTURE=str(picture)))
    service.told()
    assert service.told() == "STATUS=no checkpoint yet: put one into the fleet's models\nREADY=1"
    assert service.state()["picture"] is None


def test_a_flat_picture_is_a_failed_start(tmp_path: Path, services: list[Started]) -> None:
    (tmp_path / "checkpoint").touch()
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    services.append(service := Started(tmp_path, FAKE_PICTURE=str(tmp_path / "black.png")))
    assert "sdfleet: the picture is of one colour" in service.output()
    assert service.process.returncode == 1


def test_a_webui_that_ends_early_is_a_failed_start(tmp_path: Path, services: list[Started]) -> None:
    services.append(service := Started(tmp_path, FAKE_FATE="early"))
    output = service.output()
    assert "no such flag" in output
    assert "the WebUI ended with status 1 before it had started" in output
    assert service.process.returncode == 1


def test_a_webui_that_is_killed_later_ends_the_service(tmp_path: Path, picture: Path, services: list[Started]) -> None:
    (tmp_path / "checkpoint").touch()
    services.append(service := Started(tmp_path, FAKE_PICTURE=str(picture)))
    service.told(), service.told()
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    (webui,) = (int(pid) for pid in children if b"launch.py" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(webui, signal.SIGKILL)
    assert "the WebUI was ended by SIGKILL while it served" in service.output()
    assert service.process.returncode != 0


def test_a_picture_in_the_making_is_finished(tmp_path: Path, picture: Path, services: list[Started]) -> None:
    (tmp_path / "checkpoint").touch()
    services.append(service := Started(tmp_path, FAKE_PICTURE=str(picture), FAKE_DRAW_SECONDS="3"))
    service.told(), service.told()
    url = f"http://127.0.0.1:{service.port}/sdapi/v1/txt2img"
    code = f"import urllib.request; print(len(urllib.request.urlopen({url!r}, b'{{}}').read()))"
    client = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    while not busy(service.port):
        assert client.poll() is None, "the picture was done before anybody saw it in the making"
        time.sleep(0.05)
    service.process.send_signal(signal.SIGTERM)
    assert int(client.communicate(timeout=PATIENCE)[0]) > 1000
    service.output()
    assert service.process.returncode == 0


def test_who_asks_all_the_time_cannot_end_a_start(tmp_path: Path, picture: Path, services: list[Started]) -> None:
    (tmp_path / "checkpoint").touch()
    services.append(service := Started(tmp_path, FAKE_PICTURE=str(picture), FAKE_DRAW_SECONDS="0.5"))
    answers = {"refused": 0, "answered": 0}
    while not answers["answered"]:
        assert service.process.poll() is None, service.output()
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{service.port}/internal/ping", timeout=5).read()
            answers["answered"] += 1
        except OSError:
            answers["refused"] += 1
        time.sleep(0.01)
    assert answers["refused"] > 10, "the start was over before anybody asked"
    assert service.state()["ready"], "the port answered before the first picture"


def test_a_taken_port_is_known_at_once(tmp_path: Path, services: list[Started]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        services.append(service := Started(tmp_path, port=other.getsockname()[1]))
        output = service.output()
    assert f"port {service.port} cannot be taken: Address already in use" in output
    assert f"sdfleet: port {service.port} could not be opened" in output


def test_options_are_set_before_the_start_and_all_others_stay(
    tmp_path: Path, picture: Path, services: list[Started]
) -> None:
    (tmp_path / "config.json").write_text('{"CLIP_stop_at_last_layers": 2, "samples_format": "png"}')
    (tmp_path / "options.json").write_text('{"CLIP_stop_at_last_layers": 1}')
    services.append(service := Started(tmp_path, FAKE_PICTURE=str(picture)))
    service.told(), service.told()
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "CLIP_stop_at_last_layers": 1,
        "samples_format": "png",
    }


def test_damaged_settings_are_set_aside(tmp_path: Path, picture: Path, services: list[Started]) -> None:
    (tmp_path / "config.json").write_text('{"half')
    (tmp_path / "options.json").write_text('{"samples_save": false}')
    services.append(service := Started(tmp_path, FAKE_PICTURE=str(picture)))
    service.told(), service.told()
    assert json.loads((tmp_path / "config.json").read_text()) == {"samples_save": False}
    assert (tmp_path / "config.json.damaged").read_text() == '{"half'


def test_options_that_the_fleet_names_no_longer_are_taken_back(tmp_path: Path) -> None:
    config, options = tmp_path / "config.json", tmp_path / "options.json"

    def started_with(**wanted: object) -> dict[str, Any]:
        options.write_text(json.dumps(wanted))
        subprocess.run(onhost.words("webui_options", "--config", config, "--options", options), check=True)
        found: dict[str, Any] = json.loads(config.read_text())
        return found

    config.write_text('{"samples_format": "png", "CLIP_stop_at_last_layers": 1}')
    model = {"sd_model_checkpoint": "a.safetensors"}
    assert started_with(samples_format="jpg", eta=0.5, **model) == {
        "samples_format": "jpg",
        "CLIP_stop_at_last_layers": 1,
        "eta": 0.5,
        **model,
    }
    # The WebUI adds the hash; somebody changes an option in the page; the fleet sets one to something else.
    told = {**json.loads(config.read_text()), "sd_model_checkpoint": "a.safetensors [0123456789]", "eta": 0.7}
    config.write_text(json.dumps(told))
    assert started_with(samples_format="webp") == {"samples_format": "webp", "CLIP_stop_at_last_layers": 1, "eta": 0.7}
    assert started_with() == {"samples_format": "png", "CLIP_stop_at_last_layers": 1, "eta": 0.7}
    assert started_with() == {"samples_format": "png", "CLIP_stop_at_last_layers": 1, "eta": 0.7}


def test_the_kernels_kill_is_told_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_process, "VMSTAT", tmp_path / "vmstat")
    served_process.VMSTAT.write_text("nr_free_pages 7\noom_kill 3\n")
    webui = ServedProcess("the WebUI", 7860, lambda port: [], b"started")
    webui.gate = subprocess.Popen(["sleep", "30"])
    webui.child = subprocess.Popen(["sleep", "30"])
    try:
        webui.check("while it served")
        webui.child.kill()
        webui.child.wait()
        with pytest.raises(ServiceError, match="the WebUI was ended by SIGKILL while it served"):
            webui.check("while it served")
        served_process.VMSTAT.write_text("nr_free_pages 7\noom_kill 4\n")
        with pytest.raises(ServiceError, match=r"killed by the OOM killer while it served.* up to 0\.0 GB") as error:
            webui.check("while it served")
        assert list(recognised([str(error.value)])) == ["memory ran out and the kernel killed a process"]
    finally:
        webui.gate.kill()
        webui.gate.wait()


def test_why_it_ended_is_kept_for_the_next_start(tmp_path: Path, services: list[Started]) -> None:
    services.append(service := Started(tmp_path, FAKE_FATE="early"))
    service.output()
    first = service.state()["fault"]
    assert first["reason"] == "the WebUI ended with status 1 before it had started"
    (tmp_path / "notify").unlink()
    services.append(again := Started(tmp_path))
    again.told()
    assert again.state()["fault"] == first


def busy(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/sdapi/v1/progress") as answer:
        return bool(json.load(answer)["state"]["job_count"])


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_colours_are_counted_as_pillow_counts_them(tmp_path: Path, mode: str) -> None:
    image = Image.effect_noise((31, 17), 40).convert(mode)
    image.putpixel((3, 4), image.getpixel((0, 0)))  # type: ignore[arg-type]
    image.save(tmp_path / "a.png", optimize=True)
    found = image.getcolors(10**6)
    assert found is not None
    assert distinct_colours((tmp_path / "a.png").read_bytes()) == len(found)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_webui_that_saves_in_another_format_is_understood(tmp_path: Path, kind: str) -> None:
    Image.effect_noise((64, 64), 40).save(tmp_path / "a", kind)
    assert distinct_colours(as_png((tmp_path / "a").read_bytes())) > 2
    with pytest.raises(PictureError, match="cannot be read"):
        as_png((tmp_path / "a").read_bytes()[:40])


def test_a_page_is_no_picture() -> None:
    with pytest.raises(PictureError, match="not a picture"):
        distinct_colours(b"<html>")
