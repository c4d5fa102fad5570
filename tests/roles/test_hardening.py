"""Every unit that sdfleet installs, rendered for a host with and without a GPU, in the eyes of systemd-analyze."""

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pytest

from deploy.conversion import command
from inventory.load import load
from inventory.model import HostSettings
from roles.base.rendering import CONFIRM_UNIT, confirm_text
from roles.cache.rendering import UNIT as CACHE
from roles.cache.rendering import unit as cache_unit
from roles.comfyui.release import release_of as comfyui_release
from roles.comfyui.service import UNIT as COMFYUI
from roles.comfyui.service import unit_text as comfyui_unit
from roles.gateway.rendering import UNIT as GATEWAY
from roles.gateway.rendering import unit_text as gateway_unit
from roles.lora_scripts.release import release_of as lora_release
from roles.lora_scripts.service import unit_texts as lora_units
from roles.managers import SYSTEMD, Manager
from roles.operations.environment import builder
from roles.operations.locks import Device
from roles.paths import UNITS
from roles.rental.service import UNIT as IDLE_STOP
from roles.rental.service import unit_text as idle_stop_unit
from roles.trainer.rendering import unit_texts as trainer_units
from roles.webui.release import release_of as webui_release
from roles.webui.service import UNIT as WEBUI
from roles.webui.service import unit_text as webui_unit
from tests.roles.hardening import CPU, WITH_GPU, exposure, within_bounds

TREE = Path(__file__).resolve().parents[2]
DOCS = TREE / "docs/hardening.md"
CONVERTER = "the converter of pickles"
BUILDER = "the builder of wheels"
TRANSIENT = {CONVERTER: "converter.service", BUILDER: "builder.service"}
"""What systemd-run starts without a unit file, and what it is called here."""
CARDS: dict[Device, str] = {"cpu": "cpu", "cuda": "cu128"}


def units(host: HostSettings, device: Device, manager: Manager) -> dict[str, str]:
    """Text of each file of a unit by name."""
    build, paths = CARDS[device], host.paths
    webui, lora = webui_release(host.webui, build), lora_release(host.lora_scripts, build)
    trainer = host.trainer.model_copy(update={"gpus": 0 if device == "cpu" else 1})
    found: dict[PurePosixPath, str] = {
        CONFIRM_UNIT: confirm_text(paths, manager),
        CACHE: cache_unit(host.cache, paths, manager),
        GATEWAY: gateway_unit(host.gateway, "203.0.113.1", paths, manager),
        UNITS / COMFYUI: comfyui_unit(host.comfyui, paths, comfyui_release(host.comfyui, build), device, manager),
        UNITS / WEBUI: webui_unit(host.webui, paths, webui, device, manager),
        IDLE_STOP: idle_stop_unit(
            host.rental.model_copy(update={"idle_stop": "30m"}), paths, {"webui": 7860}, "AutoDL", manager
        ),
        **trainer_units(trainer, paths, paths.envs / "any", manager),
        **lora_units(host.lora_scripts, paths, lora, device, manager),
    }
    return {path.name: text for path, text in found.items()}


def texts(host: HostSettings, device: Device) -> dict[str, str]:
    """Text of each service by name."""
    services = {name: text for name, text in units(host, device, SYSTEMD).items() if name.endswith(".service")}
    return {**services, CONVERTER: _converter(host), BUILDER: _transient(builder(SYSTEMD))}


def _converter(host: HostSettings) -> str:
    told = command(SYSTEMD, host.paths, host.paths.envs / "any", host.paths.store / "any", 1, host.paths.store)
    return _transient(shlex.split(told[2]))


def _transient(start: Sequence[str]) -> str:
    """What systemd-run is told, as a unit file."""
    rules = [word.removeprefix("--property=") for word in start if word.startswith("--property=")]
    return "\n".join(["[Service]", "ExecStart=/usr/bin/python3 -", *rules, ""])


@pytest.mark.parametrize("device", CARDS)
def test_no_unit_is_more_exposed_than_it_must_be(tmp_path: Path, device: Device) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd here")
    (tmp_path / "fleet.toml").write_text('[fleet]\nname = "f"\n[hosts.a]\naddress = "203.0.113.1"\n')
    files = {}
    for name, text in texts(load(tmp_path / "fleet.toml").hosts["a"], device).items():
        files[name] = tmp_path / TRANSIENT.get(name, name.replace("@.", "@any."))
        files[name].write_text(text)
    found = {name: exposure(_analysed(file)) for name, file in files.items()}
    assert found.keys() == CPU.keys(), "render each in `units` above, and give it a bound in tests/roles/hardening.py"
    print(f"\n{device}:")
    within_bounds(found, CPU if device == "cpu" else {name: bound + WITH_GPU for name, bound in CPU.items()})


def _analysed(file: Path) -> str:
    words = ["systemd-analyze", "security", "--no-pager", "--offline=yes", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "offline" in done.stderr and "unrecognized" in done.stderr:
        pytest.skip("this systemd-analyze looks at running units only")
    return done.stdout + done.stderr


def test_every_template_of_a_service_is_among_them() -> None:
    files = TREE.joinpath("templates").rglob("*.service.j2")
    units = {file.name.removesuffix(".j2") for file in files}
    assert units == CPU.keys() - TRANSIENT.keys(), "give each a bound in tests/roles/hardening.py"


def test_the_docs_tell_of_each() -> None:
    rows = [line.split("|") for line in DOCS.read_text().partition("\n## ")[0].splitlines() if line.startswith("| `")]
    assert {row[1].strip(" `") for row in rows} == CPU.keys(), f"give each a row in {DOCS}"
    for row in rows:
        assert float(row[2]) <= CPU[row[1].strip(" `")], row
