"""What an extension leaves in the place of the WebUI's files does not keep the next start waiting."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from roles.onhost import files
from tests import onhost

TREE = Path(__file__).resolve().parents[2]


def _sparse(place: Path) -> None:
    with place.open("wb") as file:
        file.truncate(1 << 40)


def _nested(place: Path) -> None:
    place.write_text("[" * 100_000)


PLANTED: dict[str, Callable[[Path], None]] = {
    "fifo": os.mkfifo,
    "endless": lambda place: place.symlink_to("/dev/zero"),
    "sparse": _sparse,
    "nested": _nested,
    "folder": Path.mkdir,
}


@pytest.mark.parametrize("plant", PLANTED)
def test_a_state_that_cannot_be_read_is_none(plant: str, tmp_path: Path) -> None:
    PLANTED[plant](tmp_path / "state.json")
    reading = f"import sys; sys.path.insert(0, {str(TREE)!r}); from roles.onhost import files"
    told = f"{reading}; from pathlib import Path; print(files.read_json(Path({str(tmp_path / 'state.json')!r})))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout == "{}\n", done.stderr


def test_a_state_that_can_be_read_is_read(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"fault": {"at": "now"}}')
    assert files.read_json(tmp_path / "state.json") == {"fault": {"at": "now"}}


@pytest.mark.parametrize("plant", [*PLANTED, "text", "list"])
def test_a_record_that_says_nothing_does_not_keep_its_run_from_starting(plant: str, tmp_path: Path) -> None:
    """systemd takes any failure of this question for the answer that the run has finished."""
    written = {"text": '{"ended": "finished"}', "list": '{"ended": [{"how": "finished"}]}'}
    if plant in written:
        (tmp_path / "run.json").write_text(written[plant])
    else:
        PLANTED[plant](tmp_path / "run.json")
    command = onhost.words("training_turn", "finished", tmp_path)
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("app", ["webui", "comfyui"])
@pytest.mark.parametrize("plant", PLANTED)
def test_a_state_that_cannot_be_read_does_not_hold_an_apply(plant: str, app: str, tmp_path: Path) -> None:
    PLANTED[plant](tmp_path / "state.json")
    done = onhost.send("refresh_models", app, "--port=9", f"--state={tmp_path / 'state.json'}", timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("plant", [plant for plant in PLANTED if plant != "folder"])
def test_settings_that_cannot_be_read_are_set_aside(plant: str, tmp_path: Path) -> None:
    config, options = tmp_path / "config.json", tmp_path / "options.json"
    PLANTED[plant](config)
    options.write_text('{"samples_format": "webp"}')
    command = onhost.words("webui_options", "--config", config, "--options", options)
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0 and "config.json is damaged" in done.stdout, done.stderr
    assert json.loads(config.read_text()) == {"samples_format": "webp"}
    assert config.with_name("config.json.damaged").is_symlink() or config.with_name("config.json.damaged").exists()
