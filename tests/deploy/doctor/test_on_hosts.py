"""The doctor on real hosts: one sick, one healthy."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lab as lab_package
from lab import Lab, box, fleet, gpus
from lab.state import Rented
from tests.roles.gpu.hosts import RTX5090

pytestmark = pytest.mark.lab

PROGRAM = "import sdfleet; sdfleet.main()"
TREE = Path(__file__).resolve().parents[3]


def doctor(file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the verb."""
    return sdfleet("doctor", *arguments, "--fleet", str(file))


def findings(report: dict[str, Any], host: str) -> list[dict[str, str]]:
    """What a report for programs says of a host."""
    found: list[dict[str, str]] = report["hosts"][host]["findings"]
    return found


def sdfleet(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program."""
    environment = {**os.environ, "PYTHONPATH": str(TREE), "COLUMNS": "200", "NO_COLOR": "1"}
    command = [sys.executable, "-P", "-c", PROGRAM, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_a_sick_host_is_diagnosed_and_a_dead_one_does_not_hold_up_the_others(lab: Lab, tmp_path: Path) -> None:
    file = fleet.write(lab, groups=["webui"], file=tmp_path / "fleet.toml", tables={"gpu": {"driver": "keep"}})
    gpus.equip(lab.root("h1"), [RTX5090])
    line = "OSError: [Errno 28] No space left on device"
    assert lab.ssh("h1", f"systemd-run --wait --quiet echo '{line}'").returncode == 0
    odd = "systemd-run --wait --quiet --unit=sdfleet-odd echo"
    said = f"{odd} 'KeyError: nobody knows this one'; {odd} '{line}'; touch /run/reboot-required"
    assert lab.ssh("h1", said).returncode == 0
    lab.kill("h2")
    try:
        done = doctor(file, "--json")
    finally:
        lab.start("h2")
        gpus.take_out(lab.root("h1"))
        lab.ssh("h1", "rm /run/reboot-required")
    assert done.returncode == 3, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert [(finding["subject"], finding["level"]) for finding in findings(report, "h2")] == [("reachable", "bad")]
    assert {tuple(finding) for finding in findings(report, "h1")} == {("level", "subject", "says", "cure")}
    unknown = [finding for finding in findings(report, "h1") if "nobody knows this one" in finding["says"]]
    assert [(finding["subject"], finding["level"]) for finding in unknown] == [("journal", "warning")]
    found = {finding["subject"]: finding for finding in findings(report, "h1") if finding not in unknown}
    assert found["reboot"]["level"] == "warning"
    assert found["gpu"]["level"] == "bad" and 'gpu.driver is "keep"' in found["gpu"]["says"]
    assert found["journal"]["level"] == "bad" and line in found["journal"]["says"]
    assert found["webui"]["cure"] == "Run: sdfleet apply"
    assert found["clock"]["level"] == "good"


def test_dead_roads_and_taken_ports_are_named(lab: Lab, tmp_path: Path) -> None:
    nowhere = "http://10.77.0.1:9"
    tables = {
        "gpu": {"repository": f"{nowhere}/nvidia"},
        "mirrors": {"modelscope": [nowhere], "civitai": [nowhere]},
        "models": [{"name": "m", "kind": "lora", "source": "modelscope:owner/name/m.safetensors"}],
    }
    file = fleet.write(lab, groups=["lora_scripts"], file=tmp_path / "fleet.toml", tables=tables)
    gpus.equip(lab.root("h1"), [RTX5090])
    stray = lab.root("h1") / "etc/apt/sources.list.d/stray.list"
    stray.write_text(f"deb [trusted=yes] {nowhere}/ppa/ /\n")
    listening = "systemd-run --quiet --unit=squatter python3 -m http.server --bind 127.0.0.1 28000"
    listens = "until ss -Hltn 'sport = :28000' | grep -q .; do sleep 0.1; done"
    assert lab.ssh("h1", f'{listening}; timeout 60 sh -c "{listens}"').returncode == 0
    try:
        report = json.loads(doctor(file, "--json").stdout)
    finally:
        gpus.take_out(lab.root("h1"))
        stray.unlink()
        lab.ssh("h1", "systemctl stop squatter")
    found = {finding["subject"]: finding for finding in findings(report, "h1") if finding["level"] != "good"}
    assert found["gpu"]["says"].startswith("No driver yet: install driver 580")
    assert found["nvidia"]["level"] == "bad" and f"{nowhere}/nvidia does not answer" in found["nvidia"]["says"]
    assert "403 Forbidden" in found["nvidia"]["says"], "apt asks as it always does, through the fleet's proxy"
    assert "gpu.repository" in found["nvidia"]["cure"] and "mirrors.apt_proxy" in found["nvidia"]["cure"]
    assert found["modelscope"]["level"] == "bad" and "Connection refused" in found["modelscope"]["says"]
    assert "civitai" not in found, "no model comes from there"
    assert found["apt"]["level"] == "warning" and f"{nowhere}/ppa/ does not answer" in found["apt"]["says"]
    assert found["port"]["says"] == "28000 is in use by python3 on 127.0.0.1, so lora-scripts cannot start"
    others = {finding["subject"]: finding for finding in findings(report, "h2")}
    assert "nvidia" not in others, "it has no card"
    assert others["apt"]["says"].startswith("3 source(s) of the distribution answer; the slowest, http://")


def test_a_rented_container_is_reached_by_its_password_and_named_with_its_provider(tmp_path: Path) -> None:
    rented = [Rented(provider="autodl"), Rented(provider="runpod", sftp=False), Rented(provider="vast")]
    with lab_package.attached(hosts=0, containers=rented) as running:
        file = fleet.write(running, ["webui"], file=tmp_path / "fleet.toml")
        assert sdfleet("check", "--fleet", str(file)).returncode == 0
        unknown = sdfleet("doctor", "c1", "--fleet", str(file))
        assert unknown.returncode == 3 and "sdfleet trust c1" in unknown.stdout, unknown.stdout
        for name in ("c1", "c2", "c3"):
            trusted = sdfleet("trust", name, "--fleet", str(file))
            assert trusted.returncode == 0, trusted.stdout + trusted.stderr
        report = json.loads(doctor(file, "--json").stdout)
        titles = ["AutoDL", "RunPod", "vast.ai"]
        for name, title in zip(("c1", "c2", "c3"), titles, strict=True):
            found = {finding["says"] for finding in findings(report, name) if finding["subject"] == "system"}
            assert f"no systemd: a container of {title}; supervisord runs its services" in found
            assert not [finding for finding in findings(report, name) if finding["subject"] in ("unit", "journal")]
        running.stop("c2")
        running.start("c2")
        changed = sdfleet("trust", "c2", "--fleet", str(file))
        assert changed.returncode == 1 and "--replace-host-key" in changed.stdout + changed.stderr
        again = sdfleet("trust", "c2", "--replace-host-key", "--fleet", str(file))
        assert again.returncode == 0, again.stdout + again.stderr


def test_all_is_well_in_the_box(tmp_path: Path) -> None:
    with box.attached(hosts=1) as running:
        file = box.write_fleet(running, tmp_path / "fleet.toml")
        done = doctor(file)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "gpu: No NVIDIA GPU; everything runs on the CPU." in done.stdout
        assert "0 bad" in done.stdout
        box.write_fleet(running, file, mirrors={"github": ["http://10.77.0.1:9"]})
        dead = doctor(file, "h1")
        assert dead.returncode == 3
        assert "no mirror answers (http://10.77.0.1:9: " in dead.stdout
