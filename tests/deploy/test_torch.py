"""One decision about torch for everything that computes on a host."""

from pathlib import Path
from typing import Any

import pytest

from deploy.lock import environments
from deploy.torch import torch_builds
from inventory.errors import SdfleetError
from inventory.load import load
from inventory.model import HostSettings
from roles.facts.gpu_state import HostGpus
from roles.lora_scripts.config import LoraScripts
from roles.lora_scripts.release import LOCKS, release_of
from roles.lora_scripts.service import GUI, device_of, unit_texts
from roles.operations.application import ReleaseError
from tests.roles.gpu.hosts import DEBIAN12, GTX1080TI, K80, RTX5090, gpus


def settings(folder: Path, more: str = "") -> HostSettings:
    """A host that plays all roles that compute."""
    file = folder / "fleet.toml"
    file.write_text(
        f'[fleet]\nname = "f"\n[hosts.a]\naddress = "203.0.113.1"\ngroups = ["webui", "lora_scripts", "train"]\n{more}'
    )
    return load(file).hosts["a"]


def on(*cards: int) -> HostGpus:
    """Facts of a bare Debian host with these cards."""
    return HostGpus.model_validate(DEBIAN12 | {"devices": gpus(*cards)})


@pytest.mark.parametrize(
    ("cards", "more", "trainer", "lora_scripts"),
    [
        ((RTX5090,), "", "cu128", "cu128"),
        ((GTX1080TI,), "", "cu126", "cu126"),
        ((RTX5090,), '[gpu]\ntrainer_torch = "cu130"', "cu130", "cu130"),
        ((), "", "cpu", "cpu"),
        ((K80,), "", "", ""),
        ((RTX5090,), '[lora_scripts]\ndevice = "cpu"', "cu128", "cpu"),
        ((RTX5090,), "[trainer]\ngpus = 0", "cpu", "cu128"),
    ],
)
def test_lora_scripts_gets_the_build_of_trainings(
    tmp_path: Path, cards: tuple[int, ...], more: str, trainer: str, lora_scripts: str
) -> None:
    builds = torch_builds(settings(tmp_path, more), on(*cards))
    assert (builds.trainer, builds.lora_scripts) == (trainer, lora_scripts)


def test_a_gpu_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SdfleetError, match=r'lora_scripts.device is "cuda", but the host is to compute on its CPU'):
        torch_builds(settings(tmp_path, '[lora_scripts]\ndevice = "cuda"'), on())


def test_the_build_chooses_lock_and_device(tmp_path: Path) -> None:
    host = settings(tmp_path)
    for card, lock in ((RTX5090, "cu128"), (GTX1080TI, "cu126")):
        build = torch_builds(host, on(card)).lora_scripts
        release = release_of(host.lora_scripts, build)
        assert release.environment.lock == (LOCKS / f"fdefba9799-py3.11-{lock}.txt").read_text()
        gui = unit_texts(host.lora_scripts, host.paths, release, device_of(build))[GUI]
        assert "DeviceAllow=char-nvidia" in gui and "CUDA_VISIBLE_DEVICES=" not in gui
    on_cpu = release_of(host.lora_scripts, "cpu")
    assert on_cpu.environment.lock == (LOCKS / "fdefba9799-py3.11-cu128.txt").read_text()
    gui = unit_texts(host.lora_scripts, host.paths, on_cpu, device_of("cpu"))[GUI]
    assert "PrivateDevices=yes" in gui and "CUDA_VISIBLE_DEVICES=\n" in gui


def test_a_build_without_a_lock_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"no lock for fdefba9799 with Python 3.11 and torch's cu130 build .*cu126"):
        release_of(LoraScripts(), "cu130")


def test_the_lock_pins_the_environment_of_every_build_a_host_may_get(tmp_path: Path) -> None:
    host = settings(tmp_path)
    keys: dict[str, Any] = environments([host])
    wanted = {release_of(host.lora_scripts, build).environment.key for build in ("cpu", "cu126", "cu128")}
    assert set(keys["lora_scripts"]) == wanted and len(wanted) == 2
