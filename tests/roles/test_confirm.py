"""A change that must be confirmed, on a machine whose systemd is a script: when it is undone, and when not."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from deploy.confirmation import new_change
from tests.roles import confirming
from tests.roles.confirming import SECONDS, Host, change

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return confirming.serving(tmp_path, monkeypatch)


def test_what_is_not_confirmed_is_undone(host: Host) -> None:
    assert host.arm() == {"waits": True, "unready": False, "answered": ["https://a/sdfleet/health"]}
    change(host)
    began = time.monotonic()
    said = host.watched()
    assert time.monotonic() - began >= SECONDS
    assert "the change by `sdfleet apply` of me was not confirmed" in said
    assert host.state == ("one", "runs one")
    assert (host.folder / "pip.conf").read_text() == "old" and not (host.folder / "new.conf").exists()
    assert (host.folder / "pip.conf").stat().st_mode & 0o777 == 0o640
    undone = host.known("undone")
    assert "webui two -> one in " in str(undone["done"]) and undone["failed"] == []
    assert not host.known("pending") and not host.known("returning")
    [left] = [entry for entry in json.loads((host.home / "history.json").read_text())["served"] if entry["left"]]
    assert (left["release"], left["why"]) == ("two", "not confirmed")
    assert "webui two -> one" in str(host.confirm("done", "--token", "t")["undone"]), "who comes too late is told"


def test_what_is_confirmed_stays(host: Host) -> None:
    host.arm()
    change(host)
    watch = host.watch()
    assert host.confirm("done", "--token", "t") == {"undone": [], "other": False}
    assert watch.communicate(timeout=20)[0] == ""
    time.sleep(2 * SECONDS)
    assert host.watched() == "" and host.state == ("two", "runs two")
    assert host.confirm("done", "--token", "t") == {"undone": [], "other": False}, "asked again: it stays so"


def test_nothing_is_undone_while_a_controller_is_there(host: Host) -> None:
    holder = host.lock("apply", "t")
    host.arm()
    change(host)
    watch = host.watch()
    time.sleep(3 * SECONDS)
    assert watch.poll() is None and host.state == ("two", "runs two")
    holder.communicate(timeout=10)
    assert "not confirmed" in watch.communicate(timeout=20)[0]
    assert host.state == ("one", "runs one")


def test_a_second_controller_takes_the_wait_over(host: Host) -> None:
    first = host.lock("apply", "a")
    host.arm("a")
    change(host)
    first.communicate(timeout=10)
    watch = host.watch()
    second = host.lock("update", "b")
    assert host.said == "taken unconfirmed\n"
    host.arm("b")
    host.switch("three", "runs three")
    assert host.confirm("done", "--token", "a") == {"undone": [], "other": True}, "the first one confirms nothing"
    second.communicate(timeout=10)
    assert "not confirmed" in watch.communicate(timeout=20)[0]
    assert host.state == ("one", "runs one"), "what served before both"


@pytest.mark.parametrize(
    ("verb", "its", "left"), [("rollback", "", False), ("stop webui", "", False), ("apply", "u", True)]
)
def test_what_a_person_does_by_hand_ends_the_wait(host: Host, verb: str, its: str, left: bool) -> None:
    host.arm()
    change(host)
    host.lock(verb, its).communicate(timeout=10)
    assert bool(host.known("pending")) == left


def test_a_host_that_goes_back_is_locked(host: Host) -> None:
    host.arm()
    change(host)
    host.unit.write_text("runs two")
    slow = (host.folder / "programs/systemctl").read_text().replace("restart) if", "restart) sleep 2; if")
    (host.folder / "programs/systemctl").write_text(slow)
    watch = host.watch()
    while not host.known("returning"):
        time.sleep(0.05)
    holder = host.lock("apply", "u")
    assert host.said.startswith("waits the host itself, which goes back: the change by `sdfleet apply` of me"), (
        host.said
    )
    assert holder.stdout and holder.stdout.readline() == "taken\n"
    assert host.state == ("one", "runs one") and not host.known("returning")
    holder.communicate(timeout=10)
    watch.communicate(timeout=10)


@pytest.mark.parametrize("when", ["armed", "returning", "switched"])
def test_a_reboot_changes_nothing_of_that(host: Host, when: str) -> None:
    host.arm()
    change(host)
    place = host.folder / "etc-sdfleet/confirm"
    if when != "armed":
        (place / "pending.json").rename(place / "returning.json")
    if when == "switched":  # killed after the link and the unit were put back, before the service was restarted
        history = json.loads((host.home / "history.json").read_text())
        history["trying"] = {**history["served"][0], "back": True}
        (host.home / "history.json").write_text(json.dumps(history))
        host.unit.write_text("runs one")
        (host.home / "current").unlink()
        (host.home / "current").symlink_to("releases/one")
        (host.folder / "up").unlink()
    host.watched()
    assert host.state == ("one", "runs one") and (host.folder / "up").exists()
    assert json.loads((host.home / "history.json").read_text())["trying"] is None
    assert host.known("undone") and not host.known("returning")


def test_a_host_without_the_service_is_not_armed(host: Host) -> None:
    (host.folder / "loaded").write_text("not-found\n")
    assert host.arm() == {"waits": False, "unready": True, "answered": []}
    assert not host.known("pending")


def restarted(host: Host, watch: "subprocess.Popen[str]", *holders: "subprocess.Popen[str]") -> "subprocess.Popen[str]":
    """The watch that starts with the host: nothing of /run and no process outlives its restart."""
    for process in (watch, *holders):
        process.kill()
        process.communicate()
    for file in host.folder.glob("run.*"):
        file.unlink()
    return host.watch()


def test_a_controller_that_comes_back_after_a_restart_in_time_confirms(host: Host) -> None:
    holder = host.lock("apply", "t")
    host.arm()
    change(host)
    watch = restarted(host, host.watch(), holder)
    again = host.lock("apply", "t")
    assert host.said == "taken unconfirmed\n"
    time.sleep(3 * SECONDS)
    assert watch.poll() is None and host.state == ("two", "runs two")
    assert host.confirm("done", "--token", "t") == {"undone": [], "other": False}
    again.communicate(timeout=10)
    assert watch.communicate(timeout=20)[0] == "" and host.state == ("two", "runs two")


def test_a_controller_that_comes_back_too_late_after_a_restart_is_told(host: Host) -> None:
    first = new_change()
    holder = host.lock("apply", first)
    host.arm(first)
    change(host)
    assert "not confirmed" in restarted(host, host.watch(), holder).communicate(timeout=20)[0]
    again = host.lock("apply", first)
    assert host.said == "taken\n", "its engine stops there"
    assert "webui two -> one" in str(host.confirm("done", "--token", first)["undone"])
    again.communicate(timeout=10)
    host.lock("apply", new_change()).communicate(timeout=10)
    assert not host.known("undone"), "a further run has nothing to do with it"


def test_a_full_disk_keeps_a_host_from_being_changed(host: Host) -> None:
    (host.folder / "etc-sdfleet/confirm/.pending.json.new").mkdir(parents=True)  # nothing can be written there
    with pytest.raises(AssertionError, match=r"pending.json: Is a directory"):
        host.arm()
    assert not host.known("pending")


def test_a_full_disk_does_not_keep_a_host_from_going_back(host: Host) -> None:
    host.arm()
    change(host)
    (host.folder / "etc-sdfleet/confirm/.undone.json.new").mkdir()
    assert "webui two -> one" in host.watched()
    assert host.state == ("one", "runs one") and not host.known("returning")


def test_a_way_back_that_was_given_up_is_taken_up_again(host: Host) -> None:
    host.arm()
    change(host)
    place = host.folder / "etc-sdfleet/confirm"
    (place / "pending.json").rename(place / "returning.json")
    (host.folder / "watch").unlink()
    with pytest.raises(AssertionError, match="is putting back what served before"):
        host.arm("u")
    assert (host.folder / "watch").exists(), "its service runs again"
