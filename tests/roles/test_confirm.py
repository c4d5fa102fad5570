"""A change that must be confirmed, on a machine whose systemd is a script: what is put back, when, and when not."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from deploy import hostlock
from deploy.confirmation import new_change
from roles import programs
from tests import onhost
from tests.roles.test_activate import SYSTEMCTL

UNIT = "sdfleet-confirm.service"
SECONDS = 1
# The unit that watches is started for real; what it prints is kept.
WATCHING = r"""#!/bin/sh
for unit in "$@"; do :; done
case "$1 $unit" in
  "show "*) case "$*" in *LoadState*) cat "$HERE/loaded"; exit ;; esac ;;
  "restart sdfleet-confirm.service"|"start sdfleet-confirm.service") : >"$HERE/watch"; exit ;;
esac
"""


@dataclass
class Host:
    """A host that is a folder."""

    folder: Path

    def local(self, text: str) -> str:
        return text.replace("/run/sdfleet", f"{self.folder}/run").replace("/etc/s", f"{self.folder}/etc-s")

    def program(self, name: str, *words: object) -> list[str]:
        """What starts a program, with the host's own places."""
        link = self.folder / "onhost.pyz"
        if not link.exists():
            packed = onhost.with_systemd(programs.installed())
            link.write_bytes(onhost.changed(packed, self.local))
        return ["python3", "-I", str(link), name, *map(str, words)]

    def confirm(self, *words: object) -> dict[str, object]:
        done = subprocess.run(self.program("confirm", *words), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, object] = json.loads(done.stdout)
        return found

    def arm(self, token: str = "t", seconds: float = SECONDS) -> dict[str, object]:
        files = ["--file", self.folder / "pip.conf", "--file", self.folder / "new.conf"]
        words = ["--root", self.folder, "--seconds", seconds, "--token", token, "--by", "`sdfleet apply` of me"]
        return self.confirm("arm", *words, *files, "--answered", "https://a/sdfleet/health")

    def watch(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(self.program("confirm", "watch"), stdout=subprocess.PIPE, text=True)

    def watched(self, seconds: float = 20) -> str:
        """What a watch says that goes on until it has ended."""
        return self.watch().communicate(timeout=seconds)[0]

    def switch(self, release: str, text: str, app: str = "webui") -> None:
        (self.folder / ".text").write_text(text)
        home, unit = self.folder / "apps" / app, self.unit.with_name(f"{app}.service")
        words = ["--release", release, "--unit", unit, "--text", self.folder / ".text"]
        subprocess.run(self.program("activate", "--app", home, "switch", *words), check=True)

    def lock(self, verb: str, change: str = "") -> "subprocess.Popen[str]":
        """A controller that holds the host's lock."""
        words = [self.local(word) for word in hostlock.command(verb, change=change)]
        holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert holder.stdout
        self.said = holder.stdout.readline()
        return holder

    @property
    def home(self) -> Path:
        return self.folder / "apps/webui"

    @property
    def unit(self) -> Path:
        return self.folder / "etc-systemd/webui.service"

    @property
    def state(self) -> tuple[str, str]:
        return (self.home / "current").readlink().name, self.unit.read_text()

    def known(self, name: str) -> dict[str, object]:
        file = self.folder / f"etc-sdfleet/confirm/{name}.json"
        found: dict[str, object] = json.loads(file.read_text()) if file.exists() else {}
        return found


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host whose release `one` serves."""
    commands = tmp_path / "programs"
    commands.mkdir()
    fake = WATCHING + SYSTEMCTL.partition("\n")[2].replace("$HERE/$unit", "$HERE/etc-systemd/$unit")
    for name, text in (("systemctl", fake), ("journalctl", "#!/bin/sh\necho its last words\n")):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("HERE", str(tmp_path))
    made = Host(tmp_path)
    (tmp_path / "loaded").write_text("loaded\n")
    made.unit.parent.mkdir()
    for release in ("one", "two", "three"):
        (made.home / "releases" / release).mkdir(parents=True)
    made.switch("one", "runs one")
    (tmp_path / "pip.conf").write_text("old")
    (tmp_path / "pip.conf").chmod(0o640)
    yield made


def change(host: Host) -> None:
    """What a run changes."""
    host.switch("two", "runs two")
    (host.folder / "pip.conf").write_text("new")
    (host.folder / "new.conf").write_text("new")


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
    assert sorted(place.name for place in (host.home / "releases").iterdir()) == ["one", "three"]


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
