"""What fleet.toml says of ComfyUI, and what follows for its release, its unit and its folders."""

import re
from pathlib import Path, PurePosixPath

import pytest
import yaml

from inventory.errors import ConfigError
from inventory.load import load
from roles.comfyui.application import application
from roles.comfyui.config import Comfyui
from roles.comfyui.release import locks, release_of
from roles.comfyui.service import folders_file, folders_text, launch_arguments, unit_text
from roles.launch_flags import Flag
from roles.managers import SYSTEMD
from roles.models.config import FOLDERS
from roles.operations.locks import torch_version
from roles.paths import Paths

HOST = '[fleet]\nname = "s"\n[hosts.a]\naddress = "203.0.113.1"\ngroups = ["comfyui"]\n'
PATHS = Paths()
NODE = {"name": "nodes", "url": "https://github.com/o/nodes", "commit": "b" * 40}


def _problems(tmp_path: Path, settings: str) -> str:
    (tmp_path / "fleet.toml").write_text(f"{HOST}[comfyui]\n{settings}\n")
    with pytest.raises(ConfigError) as error:
        load(tmp_path / "fleet.toml")
    return str(error.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("flags = { listen = true }", "listen is decided by sdfleet and cannot be a flag; to reach it from elsewhere"),
        ("flags = { cpu = true }", "cpu is decided by sdfleet and cannot be a flag; set comfyui.device"),
        ("flags = { lowvramm = true }", "this ComfyUI has no flag lowvramm (did you mean lowvram?)"),
        ("flags = { lowvram = 1 }", "lowvram takes true or false, not 1"),
        ('flags = { preview_method = "best" }', "preview_method takes one of none, auto, latent2rgb, taesd"),
        ('flags = { cuda_device = "1,2" }', "cuda_device takes the number of one GPU, not '1,2'"),
        ('extra_arguments = ["--base-dir"]', "--base-dir is decided by sdfleet; set fleet.data_root"),
        ('extra_arguments = ["--lowvram"]', "--lowvram is a flag of this ComfyUI; set comfyui.flags.lowvram"),
        ('egress = ["169.254.0.0/16"]', "where clouds hand out credentials"),
        ("port = 80", "comfyui.port"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_to_do(tmp_path: Path, settings: str, said: str) -> None:
    assert said in _problems(tmp_path, settings)


def test_two_services_cannot_have_its_port(tmp_path: Path) -> None:
    assert "webui.port and comfyui.port are both 8188" in _problems(
        tmp_path, "[groups.comfyui]\nroles = ['webui']\n[webui]\nport = 8188"
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"--fp8_e4m3fn-unet": True}, ["--fp8_e4m3fn-unet"]),
        ({"fp8_e8m0fnu_unet": True, "lowvram": False}, ["--fp8_e8m0fnu-unet"]),
        ({"reserve_vram": 1, "cuda_device": 3}, ["--cuda-device", "3", "--reserve-vram", "1"]),
    ],
)
def test_flags_are_written_as_its_command_line_has_them(flags: dict[str, Flag], words: list[str]) -> None:
    arguments = launch_arguments(Comfyui(flags=flags), PATHS, "cuda")
    assert arguments[-len(words) :] == words and "--cpu" not in arguments


def test_it_has_nodes_that_call_others_only_where_it_may_reach_them() -> None:
    assert "--disable-api-nodes" in launch_arguments(Comfyui(egress=("10.0.0.0/8",)), PATHS, "cpu")
    assert "--disable-api-nodes" not in launch_arguments(Comfyui(egress=("any",)), PATHS, "cpu")


def test_its_database_is_in_its_data_folder() -> None:
    told = launch_arguments(Comfyui(), PATHS, "cpu")
    assert told[told.index("--database-url") + 1] == "sqlite:////srv/sdfleet/data/comfyui/user/comfyui.db"


def test_it_looks_for_models_where_the_fleets_are() -> None:
    found = yaml.safe_load(folders_text(PATHS))
    shown = found["sdfleet"]
    assert shown.pop("base_path") == str(PATHS.data("webui"))
    places = {PurePosixPath(place) for text in shown.values() for place in text.split()}
    kinds = ("checkpoint", "lora", "vae", "embedding", "hypernetwork", "controlnet", "upscaler", "vae_approx")
    assert {FOLDERS[kind] for kind in (*kinds, "clip_vision", "text_encoder", "realesrgan", "swinir")} <= places
    assert found["sdfleet_nodes"]["custom_nodes"] == "/srv/sdfleet/apps/comfyui/current/custom_nodes"


def test_the_unit_names_the_file_by_its_content() -> None:
    release = release_of(Comfyui(), "cpu")
    text = unit_text(Comfyui(), PATHS, release, "cpu", SYSTEMD)
    assert str(folders_file(PATHS)) in text
    assert application(Comfyui(), PATHS, release, text, SYSTEMD).texts == {folders_file(PATHS): folders_text(PATHS)}


def test_custom_nodes_are_part_of_the_release() -> None:
    plain, with_node = Comfyui(), Comfyui.model_validate({"custom_nodes": [NODE]})
    release = release_of(with_node, "cpu")
    assert release.id != release_of(plain, "cpu").id
    assert release.trees[PurePosixPath("custom_nodes/nodes")].commit == NODE["commit"]
    made, required, check = application(with_node, PATHS, release, "", SYSTEMD).finish
    assert "custom_nodes/nodes/requirements.txt" in required and "IMPORT FAILED" in check and "mkdir" in made


@pytest.mark.parametrize("build", ["cpu", "cu126", "cu128"])
def test_the_shipped_locks_have_a_torch_that_fits_and_what_it_imports(build: str) -> None:
    lock = release_of(Comfyui(), build).environment.lock
    assert torch_version(lock) == ("2.7.1" if build == "cu126" else "2.9.1")
    assert re.search(r"^torchaudio==" + re.escape(torch_version(lock)), lock, re.MULTILINE)
    assert re.search(r"^requests==", lock, re.MULTILINE), "it imports requests, but does not ask for it"
    assert locks(Comfyui()).builds() == ("cpu", "cu126", "cu128")
