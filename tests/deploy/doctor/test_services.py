"""Services of every role: what runs, what does not, and who has their ports."""

import re
from pathlib import Path
from typing import Any

import pytest

from deploy import status, units
from deploy.connection import tunnel
from deploy.units import services
from inventory.errors import ConfigError
from inventory.load import load
from inventory.model import HostSettings
from roles.base.rendering import CONFIRM_UNIT
from tests.deploy.doctor.healthy import RUNS, found, healthy, said

FLEET = """
[fleet]
name = "studio"
[hosts.gpu-1]
address = "203.0.113.10"
groups = ["webui", "comfyui", "lora_scripts", "train", "gateway", "cache"]
comfyui.port = 8288
rental.idle_stop = "30m"
"""
TEMPLATES = Path(__file__).resolve().parents[3] / "templates"
STOPPED = {"LoadState": "loaded", "ActiveState": "inactive", "SubState": "dead"}
ABSENT = {"LoadState": "not-found"}


@pytest.fixture
def host(tmp_path: Path) -> HostSettings:
    """A host that plays every role."""
    file = tmp_path / "fleet.toml"
    file.write_text(FLEET)
    return load(file).hosts["gpu-1"]


def changed(host: HostSettings, **changes: Any) -> dict[str, dict[str, Any]]:
    """The healthy host's units and ports with some of them otherwise: name of a service -> unit, port -> owner."""
    seen = healthy(host)
    its = {units.SERVICES[name]: unit for name, unit in changes.get("units", {}).items()}
    return {"units": {**seen["units"], **its}, "ports": {**seen["ports"], **changes.get("ports", {})}}


def test_every_service_is_looked_at_where_its_role_is_chosen(host: HostSettings, tmp_path: Path) -> None:
    ports = {service.name: service.ports for service in services(host)}
    assert ports.keys() == units.SERVICES.keys(), "name the group of a new service in FLEET, and its ports below"
    assert ports == {
        "webui": (7860,),
        "comfyui": (8288,),
        "lora-scripts": (28000,),
        "lora-scripts-tensorboard": (6006,),
        "tensorboard": (6007,),
        "gateway": (443, 8444, 8443, 9443, 80),
        "cache": (8180, 8181, 8182, 8183, 8184, 8185, 8187, 8188),  # 8186 is apt's, whose mirror is not named
        "idle-stop": (),
    }
    assert found(host) == {}
    texts = said(host)
    assert texts["lora-scripts"] == "active/running, 28000 is python3 on 127.0.0.1"
    assert texts["gateway"].startswith("active/running, 443 is nginx on 0.0.0.0")
    assert texts["idle-stop"] == "active/running"
    (tmp_path / "fleet.toml").write_text(FLEET.replace("groups = [", "groups = []\n#").replace("rental.", "#"))
    assert services(load(tmp_path / "fleet.toml").hosts["gpu-1"]) == []


@pytest.mark.parametrize(
    ("changes", "subject", "level", "words"),
    [
        ({"units": {"lora-scripts": STOPPED}, "ports": {"28000": ""}}, "lora-scripts", "bad", "sdfleet logs gpu-1"),
        ({"units": {"cache": ABSENT}, "ports": dict.fromkeys(map(str, range(8180, 8189)), "")}, "cache", "warning", ""),
        ({"ports": {"8443": ""}}, "gateway", "warning", "nothing listens on 8443 yet"),
        ({"units": {"gateway": {**RUNS, "NRestarts": "9"}}}, "gateway", "warning", "restarted 9 times"),
        ({"ports": {"6006": "python3 on 0.0.0.0"}}, "port", "warning", "6006 is open to everybody"),
    ],
)
def test_what_is_wrong_is_named(
    host: HostSettings, changes: dict[str, Any], subject: str, level: str, words: str
) -> None:
    ((name, (finding,)),) = found(host, **changed(host, **changes)).items()
    assert (name, finding.level) == (subject, level)
    assert words in f"{finding.says} {finding.cure}"


def test_a_port_that_another_program_has_is_named_with_the_setting_that_moves_it(host: HostSettings) -> None:
    seen = changed(host, units={"lora-scripts-tensorboard": STOPPED}, ports={"6006": "nginx on 127.0.0.1"})
    findings = found(host, **seen)
    assert [finding.level for finding in findings["lora-scripts-tensorboard"]] == ["bad"]
    (port,) = findings["port"]
    assert port.says == "6006 is in use by nginx on 127.0.0.1, so lora-scripts-tensorboard cannot start"
    assert port.cure == "Stop it, or set hosts.gpu-1.lora_scripts.tensorboard_port."


def test_the_trainers_tensorboard_need_not_run(host: HostSettings) -> None:
    assert found(host, **changed(host, units={"tensorboard": STOPPED}, ports={"6007": ""})) == {}
    taken = found(host, **changed(host, units={"tensorboard": STOPPED}))
    assert taken["port"][0].cure == "Stop it, or set hosts.gpu-1.trainer.tensorboard_port."


def test_a_gateway_that_is_closed_is_not_missed(host: HostSettings) -> None:
    closed = host.model_copy(update={"gateway": host.gateway.model_copy(update={"enabled": False})})
    assert "gateway" not in {service.name for service in services(closed)}
    assert "gateway" in status.further_services(host) and "gateway" not in status.further_services(closed)


def test_status_shows_every_service_that_always_runs(host: HostSettings) -> None:
    assert units.SERVICES.keys() - status.further_services(host).keys() == {"webui", "comfyui", "tensorboard"}


def test_open_leads_to_every_service_on_loopback_and_no_other(host: HostSettings) -> None:
    opened = {name: tunnel.remote_port(host, name) for name in ("webui", "comfyui", "lora-scripts", "tensorboard")}
    assert opened == {"webui": 7860, "comfyui": 8288, "lora-scripts": 28000, "tensorboard": 6007}
    with pytest.raises(
        ConfigError, match="it has: webui, comfyui, lora-scripts, lora-scripts-tensorboard, tensorboard"
    ):
        tunnel.remote_port(host, "cache")


@pytest.mark.parametrize(
    ("groups", "name"), [('"webui", "comfyui"', "webui"), ('"comfyui"', "comfyui"), ('"train"', "webui")]
)
def test_open_and_logs_show_what_draws_on_a_host(tmp_path: Path, groups: str, name: str) -> None:
    (tmp_path / "fleet.toml").write_text(f'[fleet]\nname = "s"\n[hosts.a]\naddress = "x"\ngroups = [{groups}]\n')
    assert units.drawing(load(tmp_path / "fleet.toml").hosts["a"]) == name


def test_every_unit_that_starts_at_boot_is_a_service() -> None:
    files = TEMPLATES.rglob("*[!@].service.j2")
    started = {
        file.name.removesuffix(".j2") for file in files if re.search(r"\n\[Install\]\n|{% include", file.read_text())
    }
    started -= {CONFIRM_UNIT.name}  # it runs only while a change waits for its confirmation
    assert started <= set(units.SERVICES.values()), "add it to deploy/units.py"
