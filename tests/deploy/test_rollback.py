"""`sdfleet rollback` on hosts that are folders: who goes back, who is named, and what stays as it was."""

import json
import shutil
from pathlib import Path

import pytest

from tests.deploy.fake_hosts import FakeHosts, fakes

pytestmark = pytest.mark.slow

__all__ = ["fakes"]


def serve(fakes: FakeHosts, host: str, *texts: str, app: str = "webui") -> None:
    """Releases r0, r1, ... of an application, each with the text of its unit; the last one serves."""
    home = fakes.root(host) / "apps" / app
    unit = fakes.host(host) / "it.service"
    served = []
    for number, text in enumerate(texts):
        (home / "releases" / f"r{number}").mkdir(parents=True)
        (home / "releases" / f"r{number}" / "manifest.json").write_text("{}")
        served.append({"release": f"r{number}", "unit": str(unit), "text": text, "since": "", "by": "", "left": ""})
    (home / "current").symlink_to(f"releases/r{len(texts) - 1}")
    unit.write_text(texts[-1])
    (home / "history.json").write_text(json.dumps({"served": served, "trying": None}))


def current(fakes: FakeHosts, host: str, app: str = "webui") -> str:
    return (fakes.root(host) / "apps" / app / "current").readlink().name


def test_a_host_out_of_reach_does_not_keep_the_others(fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui", "h2": "webui"})
    for host in ("h1", "h2"):
        serve(fakes, host, "good", "new")
    (fakes.host("h1") / "away").touch()
    done = fakes.sdfleet("rollback")
    assert done.exit_code == 1, done.output
    assert (current(fakes, "h1"), current(fakes, "h2")) == ("r1", "r0")
    assert "h2 r1 -> r0 in" in done.output
    assert "h1 (root@h1:22): cannot be reached: ssh: connect to host h1 port 22: No route to host" in done.output
    assert "When h1 can be reached again: sdfleet rollback h1" in done.output
    assert "1 of 2 host(s) rolled back" in done.output


def test_hosts_without_the_application_are_left_out(fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui", "h2": "train", "h3": "webui"})
    serve(fakes, "h1", "good", "new")
    serve(fakes, "h2", "good", "new", app="trainer")
    done = fakes.sdfleet("rollback")
    assert done.exit_code == 0, done.output
    assert current(fakes, "h1") == "r0"
    assert "h3 has no webui yet; skipped" in done.output and "h2" not in done.output
    done = fakes.sdfleet("rollback", "--app", "trainer")
    assert done.exit_code == 0, done.output
    assert current(fakes, "h2", "trainer") == "r0"
    named = fakes.sdfleet("rollback", "h2")
    assert named.exit_code == 2 and "hosts.h2: has no webui" in named.output
    bare = fakes.sdfleet("rollback", "h3")
    assert bare.exit_code == 1 and "h3: webui is not installed here" in bare.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["h9"], "rollback: no host or group 'h9'; known are h1, webui"),
        (["--app", "webiu"], "--app: no application 'webiu'; known are webui, comfyui, lora_scripts, trainer"),
    ],
)
def test_a_wrong_name_is_refused_by_where_it_stands(words: list[str], said: str, fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui"})
    done = fakes.sdfleet("rollback", *words)
    assert done.exit_code == 2 and said in done.output


def test_a_target_that_does_not_start_goes_back_to_what_served(fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui"})
    serve(fakes, "h1", "broken", "good")
    done = fakes.sdfleet("rollback")
    assert done.exit_code == 1, done.output
    assert "it.service did not become ready: its last words; went back to r1" in done.output
    assert "fleet.toml and fleet.lock still name" not in done.output, "nothing changed, so nothing is to be put back"
    assert current(fakes, "h1") == "r1"
    assert (fakes.host("h1") / "it.service").read_text() == "good"
    assert (fakes.host("h1") / "up").exists()
    history = json.loads((fakes.root("h1") / "apps/webui/history.json").read_text())
    assert history["trying"] is None and [bool(entry["left"]) for entry in history["served"]] == [True, False]
    again = fakes.sdfleet("rollback")
    assert again.exit_code == 1 and "No earlier release. Available: r0. Choose one with --to." in again.output


def test_an_unknown_release_changes_nothing(fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui"})
    serve(fakes, "h1", "good", "new")
    done = fakes.sdfleet("rollback", "--to", "r7")
    assert done.exit_code == 1 and "No release r7. Available: r0. Choose one with --to." in done.output
    assert current(fakes, "h1") == "r1"


@pytest.mark.parametrize("inside", ["", "code", "manifest.json"])
def test_a_folder_that_never_served_is_no_release_to_go_back_to(inside: str, fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui"})
    serve(fakes, "h1", "good", "new")
    folder = fakes.root("h1") / "apps/webui/releases/v9"
    folder.mkdir()
    if inside:
        (folder / inside).touch()
    done = fakes.sdfleet("rollback", "--to", "v9")
    assert done.exit_code == 1 and "No release v9. Available: r0. Choose one with --to." in done.output
    assert current(fakes, "h1") == "r1"
    path = fakes.sdfleet("rollback", "--to", "../../../etc")
    assert path.exit_code == 2 and "--to: '../../../etc' must begin with a letter or digit" in path.output


def test_a_folder_that_sdfleet_did_not_build_is_listed_as_that(fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui"})
    serve(fakes, "h1", "good", "new")
    home = fakes.root("h1") / "apps/webui"
    (home / "releases/my-notes").mkdir()
    [line] = [line for line in fakes.sdfleet("releases").output.splitlines() if "my-notes" in line]
    assert line.rstrip().endswith("not built by sdfleet")
    (home / "releases/r1/manifest.json").unlink()
    assert "in use, incomplete" in fakes.sdfleet("releases").output


def test_a_host_that_somebody_else_changes_does_not_keep_the_others(fakes: FakeHosts, tmp_path: Path) -> None:
    import fcntl

    fakes.write({"h1": "webui", "h2": "webui"})
    for host in ("h1", "h2"):
        serve(fakes, host, "good", "new")
    with (fakes.host("h1") / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = fakes.sdfleet("rollback")
    assert done.exit_code == 1, done.output
    assert "h1: another run of sdfleet is changing this host" in done.output
    assert (current(fakes, "h1"), current(fakes, "h2")) == ("r1", "r0")


def test_what_only_differs_in_flags_is_told_by_them(fakes: FakeHosts) -> None:
    fakes.write({"h1": "webui"})
    command = "[Service]\nExecStart=/x/env/bin/python /x/it.py --port 7860 --release r0 --fingerprint {} -- {}\n"
    serve(fakes, "h1", command.format("aa", "--medvram"), command.format("bb", "--xformers --theme dark"))
    home = fakes.root("h1") / "apps/webui"
    history = json.loads((home / "history.json").read_text())
    for entry in history["served"]:
        entry |= {"release": "r0", "since": "2026-11-27T01:02:03Z"}
    (home / "history.json").write_text(json.dumps(history))
    shutil.rmtree(home / "releases/r1")
    (home / "current").unlink()
    (home / "current").symlink_to("releases/r0")
    listed = json.loads(fakes.sdfleet("releases", "--json").output)["hosts"]["h1"]["apps"]["webui"]
    differs = "without --xformers, without --theme dark, with --medvram"
    assert [(entry["current"], entry["differs"]) for entry in listed] == [(True, ""), (False, differs)]
    assert differs in fakes.sdfleet("releases").output
    done = fakes.sdfleet("rollback")
    assert done.exit_code == 0, done.output
    assert "h1 r0 without --xformers, without --theme dark, with --medvram in" in done.output
