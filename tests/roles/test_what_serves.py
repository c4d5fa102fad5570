"""What a host puts back that goes back by itself, on a machine whose systemd is a script."""

import json
import subprocess
from pathlib import Path
from typing import cast

import pytest

from roles.onhost import services, what_serves
from tests.roles import confirming
from tests.roles.confirming import Host, change

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return confirming.serving(tmp_path, monkeypatch)


def test_what_may_be_put_back_is_not_pruned(host: Host) -> None:
    for release in ("one", "two", "three"):
        (host.home / "releases" / release / "manifest.json").write_text("{}")
    (host.folder / "envs").mkdir()
    host.arm()
    host.switch("two", "runs two")
    host.switch("three", "runs three")
    words = ("--app", host.home, "--keep", 2, "--environments", host.folder / "envs")
    subprocess.run(host.program("prune", *words), check=True)
    host.watched()
    assert host.state == ("one", "runs one")
    subprocess.run(host.program("prune", *words), check=True)
    assert sorted(place.name for place in (host.home / "releases").iterdir()) == ["one", "two"]  # three was given up


def test_what_did_not_serve_is_not_put_back(host: Host) -> None:
    (host.folder / "up").unlink()  # stopped, or broken
    assert host.arm()["waits"] is False
    assert not host.known("pending")


def test_a_change_that_changed_nothing_is_not_told_of(host: Host) -> None:
    host.arm()
    assert "not confirmed" in host.watched()
    assert not host.known("undone") and host.state == ("one", "runs one")


def test_a_part_that_cannot_go_back_does_not_keep_the_others(host: Host) -> None:
    host.arm()
    change(host)
    (host.home / "releases/one").rmdir()
    host.watched()
    assert host.state == ("two", "runs two") and (host.folder / "pip.conf").read_text() == "old"
    assert host.known("undone")["failed"] == ["webui: release one is no longer here"]


def test_a_release_that_no_longer_starts_leaves_the_new_one(host: Host) -> None:
    host.arm()
    change(host)
    pending = host.folder / "etc-sdfleet/confirm/pending.json"
    pending.write_text(pending.read_text().replace("runs one", "broken"))
    host.watched()
    assert host.state == ("two", "runs two") and (host.folder / "up").exists()
    assert "did not become ready: its last words; went back to two" in str(host.known("undone")["failed"])


def test_all_that_draws_goes_back(host: Host) -> None:
    for release in ("alpha", "beta"):
        (host.folder / "apps/comfyui/releases" / release).mkdir(parents=True)
    host.switch("alpha", "draws alpha", "comfyui")
    host.arm()
    change(host)
    host.switch("beta", "draws beta", "comfyui")
    host.watched()
    assert host.state == ("one", "runs one")
    assert (host.folder / "apps/comfyui/current").readlink().name == "alpha"
    assert host.unit.with_name("comfyui.service").read_text() == "draws alpha"
    told = [str(line).partition(" in ")[0] for line in cast("list[str]", host.known("undone")["done"])]
    assert {"comfyui beta -> alpha", "webui two -> one"} < set(told)


def test_a_file_of_others_is_put_back_to_the_byte(host: Host) -> None:
    theirs = b"[global]\r\n# caf\xe9\r\n"
    (host.folder / "pip.conf").write_bytes(theirs)
    host.arm()
    change(host)
    host.watched()
    assert (host.folder / "pip.conf").read_bytes() == theirs


def test_a_damaged_history_keeps_no_host_from_going_back(host: Host) -> None:
    host.switch("one", "runs one")
    (host.home / "history.json").write_text("{")
    assert host.arm()["waits"] is True
    change(host)
    host.watched()
    assert host.state == ("one", "runs one") and not host.known("undone")["failed"]


def test_one_change_after_the_other_is_undone(host: Host) -> None:
    for _ in range(3):
        host.arm()
        change(host)
        host.watched()
        assert host.state == ("one", "runs one") and not host.known("undone")["failed"]
        (host.folder / "etc-sdfleet/confirm/undone.json").unlink()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the service manager, on a host on which only `webui.service` and what is no application run."""
    made: list[str] = []

    class Asked:
        def attempt(self, verb: str, unit: str) -> str:
            made.append(f"{verb} {unit}")
            return ""

    monkeypatch.setattr(services, "manager", Asked)
    monkeypatch.setattr(services, "change", lambda verb, unit="": made.append(f"{verb} {unit}".strip()))
    monkeypatch.setattr(services, "state", lambda unit: "inactive" if unit == "comfyui.service" else "active")
    return made


def application(folder: Path, name: str) -> Path:
    """An application whose release r1 has served, with its unit."""
    home, unit = folder / name, folder / f"units/{name}.service"
    (home / "releases/r1").mkdir(parents=True)
    (home / "current").symlink_to("releases/r1")
    unit.parent.mkdir(exist_ok=True)
    unit.write_text("r1")
    entry = {"release": "r1", "unit": str(unit), "text": "r1", "left": "", "since": "", "by": ""}
    (home / "history.json").write_text(json.dumps({"served": [entry], "trying": None}))
    return home


def looked(folder: Path, *homes: Path, kept: tuple[Path, ...] = ()) -> what_serves.Known:
    return what_serves.look(homes, sorted((folder / "units").iterdir()), kept)


def test_an_application_that_was_down_keeps_its_new_unit(calls: list[str], tmp_path: Path) -> None:
    homes = application(tmp_path, "webui"), application(tmp_path, "comfyui")
    known = looked(tmp_path, *homes)
    (tmp_path / "units/comfyui.service").write_text("r2")
    assert what_serves.put_back(known, "not confirmed") == ([], [])
    assert (tmp_path / "units/comfyui.service").read_text() == "r2" and calls == []


def test_a_slice_is_written_and_what_runs_in_it_goes_on(calls: list[str], tmp_path: Path) -> None:
    home, units = application(tmp_path, "webui"), tmp_path / "units"
    for name in ("sdfleet-train.slice", "sdfleet-other.service", "sdfleet-cache.service"):
        (units / name).write_text("old")
    known = looked(tmp_path, home)
    for name in ("sdfleet-train.slice", "sdfleet-other.service", "sdfleet-cache.service"):
        (units / name).write_text("new")
    done, failed = what_serves.put_back(known, "not confirmed")
    assert sorted(done) == ["sdfleet-other.service as it was", "sdfleet-train.slice as it was"] and failed == []
    assert [call for call in calls if call.startswith("restart")] == ["restart sdfleet-other.service"]
    assert (units / "sdfleet-cache.service").read_text() == "new", "its files are not put back either"


def test_a_gateway_that_was_opened_keeps_its_certificate(calls: list[str], tmp_path: Path) -> None:
    home, gateway = application(tmp_path, "webui"), tmp_path / "gateway"
    certificate, foreign = gateway / "tls.crt", tmp_path / "pip.conf"
    known = looked(tmp_path, home, gateway, kept=(certificate, foreign))
    application(tmp_path, "gateway")
    certificate.write_text("made")
    foreign.write_text("ours")
    assert what_serves.put_back(known, "not confirmed") == ([f"{foreign} is gone again"], [])
    assert certificate.read_text() == "made"


def test_a_gateway_that_was_closed_stays_so(calls: list[str], tmp_path: Path) -> None:
    home, gateway = application(tmp_path, "webui"), application(tmp_path, "gateway")
    certificate = gateway / "tls.crt"
    certificate.write_text("made")
    known = looked(tmp_path, home, gateway, kept=(certificate,))
    subprocess.run(["rm", "-r", gateway], check=True)
    assert what_serves.put_back(known, "not confirmed") == ([], [])
    assert not gateway.exists()
