"""Which torch lora-scripts gets on a host, and the lock that follows."""

from pathlib import Path

import pytest

from deploy.torch import TorchBuilds, torch_builds
from inventory.load import load
from roles.gpu.torch_builds import LORA_SCRIPTS
from roles.lora_scripts.config import LoraScripts
from roles.lora_scripts.release import release_of
from roles.settings import SettingError
from tests.roles.gpu.hosts import HOSTS

STATES = {host.name: host.state for host in HOSTS}


def chosen(folder: Path, name: str, settings: str = "") -> TorchBuilds:
    """What the host of the decision table gets under these settings of lora-scripts."""
    file = folder / "fleet.toml"
    file.write_text(
        '[fleet]\nname = "s"\n[hosts.a]\naddress = "203.0.113.1"\ngroups = ["lora_scripts"]\n'
        f"[lora_scripts]\n{settings}\n"
    )
    return torch_builds(load(file).hosts["a"], STATES[name])


@pytest.mark.parametrize(
    ("host", "settings", "build"),
    [
        ("RTX 4090, Ubuntu 24.04", "", "cu128"),
        ("RTX 5090, Ubuntu 24.04", "", "cu128"),
        ("V100, Ubuntu 22.04", "", "cu128"),
        ("GTX 1080 Ti (Pascal), Ubuntu 22.04", "", "cu126"),
        ("Tesla P40, Debian 12", "", "cu126"),
        ("GTX 1080 Ti + RTX 3090, Ubuntu 22.04", "", "cu126"),
        ("GTX 1080 Ti (Pascal), Ubuntu 22.04", 'torch = "cu128"', "cu128"),
        ("RTX 4090, Ubuntu 24.04", 'device = "cpu"', "cpu"),
        ("No GPU", "", "cpu"),
        ("GH200 image, driver 560, arm64", 'requirements = "own.txt"', "cuda"),
    ],
)
def test_lora_scripts_gets_a_build_with_code_for_the_card(host: str, settings: str, build: str, tmp_path: Path) -> None:
    assert chosen(tmp_path, host, settings).builds["lora_scripts"] == build


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ("GH200 image, driver 560, arm64", "No lora-scripts here: there is no build of torch for aarch64."),
        (".run 470, RTX 2080 Ti", "No lora-scripts here: torch 2.8.0+cu128 needs driver 525.60.13 or newer"),
        ("Tesla K80, Debian 12", "No build of torch has code for Tesla K80."),
    ],
)
def test_where_it_gets_none_the_reason_is_told(host: str, sentence: str, tmp_path: Path) -> None:
    builds = chosen(tmp_path, host)
    assert builds.builds["lora_scripts"] == "" and builds.why["lora_scripts"].startswith(sentence)


@pytest.mark.parametrize(
    ("host", "gpu", "build"),
    [
        ("RTX 4090, Ubuntu 24.04", "", "cu128"),
        ("RTX 5090, Ubuntu 24.04", "", "cu128"),
        ("V100, Ubuntu 22.04", "", "cu128"),
        ("No GPU", "", "cpu"),
        (
            "GTX 1080 Ti (Pascal), Ubuntu 22.04",
            "",
            "No forge-neo here: no build of torch has code for GeForce GTX 1080 Ti.",
        ),
        ("RTX 4090, Ubuntu 24.04", 'webui_torch = "cu121"', "No forge-neo here: there is no cu121 build of torch here"),
    ],
)
def test_a_fork_of_the_webui_gets_builds_of_its_own(host: str, gpu: str, build: str, tmp_path: Path) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text(
        '[fleet]\nname = "s"\n[hosts.a]\naddress = "203.0.113.1"\ngroups = ["webui"]\n'
        f'[webui]\nflavor = "forge-neo"\n[gpu]\n{gpu}\n'
    )
    found = torch_builds(load(file).hosts["a"], STATES[host])
    assert (found.builds["webui"] or found.why["webui"]).startswith(build)


def test_a_gpu_that_is_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r'lora_scripts.device: is "cuda", but this host uses its CPU'):
        chosen(tmp_path, "No GPU", 'device = "cuda"')


def test_the_shipped_locks_have_the_torch_that_is_chosen() -> None:
    for torch in LORA_SCRIPTS:
        if torch.build != "cpu":
            lock = release_of(LoraScripts(), torch.build).environment.lock
            assert f"\ntorch=={torch.torch} " in lock and f"\ntorchvision=={torch.torchvision} " in lock
    assert release_of(LoraScripts(), "cpu").id == release_of(LoraScripts(), "cu128").id
