"""What the doctor makes of a host, from what was read there."""

import re
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from deploy import units
from deploy.connection.ssh import HostError
from deploy.doctor import controller, hosts
from deploy.doctor.failures import NO_GPU
from deploy.doctor.report import _lost
from inventory.model import ROLES, Fleet, HostSettings
from roles.paths import Paths
from tests.deploy.doctor.healthy import BARE, BOARD, RUNNING, RUNS, found, healthy


def test_a_healthy_host_has_nothing_to_complain_of(host: HostSettings) -> None:
    findings = hosts.judge(host, healthy(host))
    assert {finding.level for finding in findings} == {"good"}
    said = "\n".join(f"{finding.subject}: {finding.says}" for finding in findings)
    assert "gpu: Driver 580.95.05 works and fits Tesla T4." in said
    assert "torch: torch 2.1.2+cu121 for WebUI, torch 2.9.1+cu128 for training" in said
    assert "github: 9 of 9 answer; first https://ghfast.top in 0.10 s, 9.0 MB/s" in said


def test_units_and_journal_of_a_host_without_systemd_are_not_called_good(host: HostSettings) -> None:
    seen = {**healthy(host), "systemd": False, "units": {}}
    subjects = {finding.subject for finding in hosts.judge(host, seen)}
    assert not subjects & {"unit", "journal"}


@pytest.mark.parametrize(
    ("changes", "subject", "level", "words"),
    [
        ({"os": {"id": "fedora", "release": "41", "name": "Fedora 41"}}, "system", "warning", "Fedora 41"),
        ({"time": 400.0}, "clock", "bad", "600 s .* timedatectl"),
        ({"time": 9000.0}, "clock", "bad", "7999 s"),
        ({"disk": {"free_gb": 2.0, "total_gb": 30.0}}, "disk", "warning", "2 of 30 GB.*larger disk"),
        ({"memory": {"total_gb": 8.0, "swap_gb": 0.0}}, "memory", "warning", "Add swap"),
        ({"gpu": BARE}, "gpu", "warning", "install driver 580 .* sdfleet apply --limit gpu-1"),
        ({"gpu": [*BARE, "secure_boot\ttrue"]}, "gpu", "bad", "Secure Boot.*mokutil"),
        ({"gpu": [line for line in RUNNING if not line.startswith("held")]}, "driver", "warning", "libcuda1.*not held"),
        (
            {"gpu": [line.replace("userspace\t580.95", "userspace\t580.99") for line in RUNNING]},
            "gpu",
            "warning",
            "580",
        ),
        (
            {
                "units": {units.WEBUI: {"LoadState": "not-found"}, BOARD: RUNS},
                "ports": {"6007": "python3 on 127.0.0.1"},
            },
            "webui",
            "warning",
            "sdfleet apply",
        ),
        (
            {"units": {units.WEBUI: {"LoadState": "not-found"}}, "ports": {"7860": "nginx on 127.0.0.1"}},
            "port",
            "bad",
            r"in use by nginx .*hosts\.\S+\.webui\.port",
        ),
        (
            {"units": {units.WEBUI: {"LoadState": "loaded", "ActiveState": "failed", "SubState": "failed"}}},
            "webui",
            "bad",
            "failed/failed .* sdfleet logs gpu-1",
        ),
        (
            {
                "units": {units.WEBUI: {"LoadState": "loaded", "ActiveState": "failed", "SubState": "failed"}},
                "failed": {units.WEBUI: "OSError: no such checkpoint"},
            },
            "webui",
            "bad",
            "last line: OSError: no such checkpoint",
        ),
        (
            {"failed": {"lora-train@ink.service": "the loss is not a number"}},
            "unit",
            "warning",
            "lora-train@ink.service failed; its last line: the loss is not a number",
        ),
        ({"ports": {"7860": "python3 on 0.0.0.0"}}, "port", "warning", "open to everybody"),
        ({"gpu": [*RUNNING, "dpkg_interrupted\ttrue"]}, "packages", "warning", "dpkg --configure -a"),
        ({"reboot": True}, "reboot", "warning", "old kernel"),
        ({"error": "python[9]: KeyError: 'x'"}, "journal", "warning", "KeyError: 'x'.*sdfleet logs gpu-1"),
        ({"journal": {"the disk is full": "OSError: [Errno 28]"}}, "journal", "warning", "Errno 28.*data_root"),
    ],
)
def test_what_is_wrong_is_named_with_its_cure(
    host: HostSettings, changes: dict[str, Any], subject: str, level: str, words: str
) -> None:
    findings = found(host, **changes)[subject]
    assert [finding.level for finding in findings] == [level]
    assert re.search(words, f"{findings[0].says} {findings[0].cure}"), findings


def test_a_host_without_systemd_is_no_fault(host: HostSettings) -> None:
    more = host.model_copy(update={"roles": ROLES})
    assert "system" not in found(more, systemd=False, provider="AutoDL")


RENTED = {"systemd": False, "provider": "AutoDL", "units": {}}


def test_the_data_disk_of_a_rented_container_is_proposed(host: HostSettings) -> None:
    root = str(host.paths.root)
    [finding] = found(host, **RENTED, mounts={root: "/", "/root/autodl-tmp": "/root/autodl-tmp"})["disk"]
    assert finding.level == "warning" and "the system disk of a container of AutoDL" in finding.says
    assert f'Write data_root = "/root/autodl-tmp/sdfleet", on its data disk ({host.place("data_root")})' in finding.cure
    small = {"free_gb": 2.0, "total_gb": 30.0}
    [finding] = found(host, **RENTED, disk=small, mounts={root: "/", "/root/autodl-tmp": "/root/autodl-tmp"})["disk"]
    assert finding.level == "bad" and '"/root/autodl-tmp/sdfleet"' in finding.cure
    assert "disk" not in found(host, **RENTED, mounts={root: "/", "/root/autodl-tmp": "/"})


def test_a_data_root_that_systemd_hides_is_bad(host: HostSettings) -> None:
    hidden = host.model_copy(update={"paths": Paths(root=PurePosixPath("/root/autodl-tmp/sdfleet"))})
    [finding] = found(hidden, mounts={str(hidden.paths.root): "/"})["disk"]
    assert finding.level == "bad" and "mount /srv/sdfleet" in finding.cure


def test_torch_without_a_gpu_is_a_failure_only_where_a_gpu_is(host: HostSettings) -> None:
    journal = {NO_GPU: "ERROR    Torch is not able to use GPU, please check your torch"}
    assert [finding.level for finding in found(host, journal=journal)["journal"]] == ["warning"]
    assert "journal" not in found(host, journal=journal, gpu=[line for line in BARE if not line.startswith("device")])


def test_an_unreachable_host_is_a_finding() -> None:
    error = HostError("gpu-1: a; b: timed out", unreachable=True, cure="check address, port, firewall")
    [finding] = _lost("gpu-1", error).findings
    said = (finding.level, finding.says, finding.cure)
    assert said == ("bad", "gpu-1: a; b: timed out", "Check address, port, firewall.")


@pytest.mark.parametrize(("said", "level"), [("yes", "good"), ("no", "warning"), ("", "good")])
def test_the_controllers_clock(
    said: str, level: str, fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "timedatectl").write_text(f"#!/bin/sh\necho {said}\n")
    (tmp_path / "timedatectl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (finding,) = (found for found in controller.examine(fleet, []) if found.subject == "clock")
    assert finding.level == level


def test_the_controllers_key_must_be_private(fleet: Fleet, tmp_path: Path) -> None:
    key = tmp_path / "id"
    key.write_text("key")
    key.chmod(0o644)
    connection = fleet.hosts["gpu-1"].connection.model_copy(update={"key": key})
    host = fleet.hosts["gpu-1"].model_copy(update={"connection": connection})
    (finding,) = (f for f in controller.examine(fleet, [host]) if f.level == "bad")
    assert finding.cure == f"Run: chmod 600 {key}"
    key.chmod(0o600)
    assert not [f for f in controller.examine(fleet, [host]) if f.level == "bad"]
