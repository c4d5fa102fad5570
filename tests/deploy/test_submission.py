"""What travels to a host with a run, and what is refused before anything does."""

import tomllib
from pathlib import Path

import pytest

from deploy.runs import requirements
from deploy.runs.submission import LARGEST, prepare, read
from inventory.errors import ConfigError
from inventory.load import load
from inventory.model import HostSettings
from training.config import Config

CONFIG = 'name = "ink"\n[model]\ncheckpoint = "{model}"\n[data]\nfolder = "{data}"\n[train]\nsteps = 5\n'


@pytest.fixture
def host(tmp_path: Path) -> HostSettings:
    (tmp_path / "fleet.toml").write_text(
        '[fleet]\nname = "a"\n[hosts.h1]\naddress = "x"\n'
        '[[models]]\nname = "sd15"\nkind = "checkpoint"\nsource = "https://x.example/f.safetensors"\n'
    )
    return load(tmp_path / "fleet.toml").hosts["h1"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    pictures = tmp_path / "pictures/3_cat"
    pictures.mkdir(parents=True)
    (pictures / "a.png").write_bytes(b"a")
    (pictures / "a.txt").write_text("a cat")
    (pictures / ".DS_Store").write_text("x")
    (pictures / "a_sd.npz").write_text("somebody's cache")
    file = tmp_path / "ink.toml"
    file.write_text(CONFIG.format(model="sd15", data="pictures"))
    return file


def problems(config: Path, host: HostSettings, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        prepare(read(config, overrides), config, "run-1", host)
    return str(caught.value)


def test_paths_become_the_hosts(config: Path, host: HostSettings) -> None:
    submission = prepare(read(config, ["train.steps=7", "name=other"]), config, "run-1", host)
    sent = Config.model_validate(tomllib.loads(submission.config))
    assert str(sent.model.checkpoint) == "/srv/sdfleet/data/webui/models/Stable-diffusion/sd15.safetensors"
    assert str(sent.data.folder) == "/srv/sdfleet/runs/run-1/inputs/data.folder"
    assert (sent.train.steps, sent.name) == (7, "other")
    assert sorted(submission.inputs) == ["data.folder/3_cat/a.png", "data.folder/3_cat/a.txt"]


def test_a_small_checkpoint_travels(config: Path, host: HostSettings, tmp_path: Path) -> None:
    (tmp_path / "toy.safetensors").write_bytes(b"toy")
    submission = prepare(read(config, ["model.checkpoint=toy.safetensors"]), config, "run-1", host)
    assert submission.inputs["model.checkpoint/toy.safetensors"] == tmp_path / "toy.safetensors"
    assert submission.models == {}


def test_a_large_one_does_not(config: Path, host: HostSettings, tmp_path: Path) -> None:
    with (tmp_path / "big.safetensors").open("wb") as file:
        file.truncate(LARGEST + 1)
    said = problems(config, host, "model.checkpoint=big.safetensors")
    assert "model.checkpoint: " in said and "(0.3 GB) is too large to send; add it to [[models]]" in said


def test_every_problem_is_told_at_once(config: Path, host: HostSettings, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = problems(config, host, "model.checkpoint=sd16", "data.folder=empty")
    assert "model.checkpoint: " in said and "h1 has no model of this name (it has: sd15)" in said
    assert "data.folder: " in said and "holds no picture" in said


def test_pictures_must_lie_in_numbered_folders(config: Path, host: HostSettings, tmp_path: Path) -> None:
    assert "in a folder called N_name" in problems(config, host, "data.folder=pictures/3_cat")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.steps", "must be key=value"),
        ("train.stepz=3", "train.stepz: unknown setting (did you mean steps?)"),
        ("name.x=3", "name is not a table"),
    ],
)
def test_bad_overrides(override: str, sentence: str, config: Path, host: HostSettings) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare(read(config, [override]), config, "run-1", host)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("flag", ["device_id", '"device-id"', '"--device-id"'])
def test_a_run_is_told_which_gpu_the_webui_has(config: Path, tmp_path: Path, flag: str) -> None:
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(
        f'[fleet]\nname = "a"\n[webui]\nflags = {{ {flag} = 1 }}\n'
        '[hosts.h1]\naddress = "x"\ngroups = ["webui", "train"]\n'
    )
    found = load(fleet).hosts["h1"]
    run = Config.model_validate(tomllib.loads(config.read_text()))
    turn = requirements.turn(run, found, [found])
    assert turn["webui"]["gpu"] == 1 and turn["comfyui"] is None


def test_a_run_is_told_which_gpu_comfyui_has(config: Path, tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.toml"
    hosts = '[hosts.h1]\naddress = "x"\ngroups = ["comfyui", "train"]\n'
    fleet.write_text(f'[fleet]\nname = "a"\n[comfyui]\nflags = {{ cuda_device = 1 }}\n{hosts}')
    found = load(fleet).hosts["h1"]
    turn = requirements.turn(Config.model_validate(tomllib.loads(config.read_text())), found, [found])
    assert turn["comfyui"] == {"policy": "unload", "unit": "sdfleet-comfyui.service", "port": 8188, "gpu": 1}
    assert turn["webui"] is None
