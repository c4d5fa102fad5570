"""Switching releases on a machine whose systemd is a script: what serves, what is remembered, what is gone back to."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from roles.onhost.journal import reason
from tests import onhost

pytestmark = pytest.mark.slow

# A unit starts unless its text says `broken`; its state is what the last start came to.
SYSTEMCTL = """#!/bin/sh
for unit in "$@"; do :; done
case "$1" in
  restart) if grep -q broken "$HERE/$unit"; then rm -f "$HERE/up"; exit 1; fi; touch "$HERE/up" ;;
  show) [ -e "$HERE/up" ] && echo active || echo failed ;;
esac
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An application's folder with three releases."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("systemctl", SYSTEMCTL), ("journalctl", "#!/bin/sh\necho its last words\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("HERE", str(tmp_path))
    for release in ("one", "two", "three"):
        (tmp_path / "app/releases" / release).mkdir(parents=True)
        (tmp_path / "app/releases" / release / "manifest.json").write_text("{}")
    return tmp_path / "app"


def call(app: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run("activate", app, *words)


def run(program: str, app: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = onhost.words(program, "--app", app, *words)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def prune(app: Path, keep: int) -> None:
    """Prune the releases of `app` and the environments beside it."""
    environments = app.parent / "envs"
    environments.mkdir(exist_ok=True)
    done = run("prune", app, "--keep", str(keep), "--environments", str(environments))
    assert done.returncode == 0, done.stderr


def switch(app: Path, release: str, text: str) -> subprocess.CompletedProcess[str]:
    new = app / ".text"
    new.write_text(text)
    unit = str(app.parent / "it.service")
    return call(app, "switch", "--release", release, "--unit", unit, "--text", str(new), "--by", "me")


def state(app: Path) -> tuple[str, str]:
    """The release in use and the unit's text."""
    return (app / "current").readlink().name, (app.parent / "it.service").read_text()


def test_what_serves_is_remembered_and_gone_back_to(app: Path) -> None:
    for release in ("one", "two"):
        assert switch(app, release, f"runs {release}").returncode == 0
    done = call(app, "back", "--by", "me")
    assert done.stdout.startswith("two -> one in "), done.stderr
    assert state(app) == ("one", "runs one")
    again = call(app, "back")
    assert again.returncode == 1, "twice is not forward again"
    assert "No earlier release. Available: two. Choose one with --to." in again.stderr
    assert call(app, "back", "--to", "two").returncode == 0
    assert state(app) == ("two", "runs two")


def test_a_release_that_does_not_start_is_left(app: Path) -> None:
    switch(app, "one", "runs one")
    done = switch(app, "two", "broken")
    assert done.returncode == 1
    assert "it.service did not become ready: its last words; went back to one; journalctl -u" in done.stderr
    assert state(app) == ("one", "runs one")
    assert json.loads((app / "history.json").read_text())["trying"] is None


def test_after_a_killed_switch_the_way_back_leads_to_what_last_served(app: Path) -> None:
    switch(app, "one", "runs one")
    switch(app, "two", "broken")
    (app / "current").unlink()
    (app / "current").symlink_to("releases/two")  # as a switch leaves it that was killed while the service started
    (app.parent / "it.service").write_text("broken")
    assert switch(app, "three", "broken too").returncode == 1
    assert state(app) == ("one", "runs one")


def test_another_unit_of_the_same_release_is_gone_back_from(app: Path) -> None:
    switch(app, "one", "runs one")
    switch(app, "one", "runs one with a flag")
    assert call(app, "back").returncode == 0
    assert state(app) == ("one", "runs one")


def test_two_ways_to_run_a_release_are_told_apart(app: Path) -> None:
    plain, flagged = "ExecStart=/run --a -- --port 1", "ExecStart=/run --b -- --port 1 --medvram"
    switch(app, "one", plain)
    refused = switch(app, "one", f"{flagged} broken")
    assert "went back to one without --b, without --medvram broken, with --a; " in refused.stderr
    assert switch(app, "one", flagged).returncode == 0
    back = call(app, "back")
    assert back.stdout.startswith("one without --b, without --medvram, with --a in "), back.stderr
    switch(app, "one", plain.replace("--a", "--c"))
    assert call(app, "back").stdout.startswith("one without --c, with --a in ")


def test_prune_keeps_what_serves_and_what_served_last(app: Path) -> None:
    for release in ("one", "two", "three"):
        switch(app, release, f"runs {release}")
    os.utime(app / "releases/one", (2**31, 2**31))  # a wrong clock must not decide
    (app / "releases/.four.building").mkdir()
    prune(app, 2)
    assert sorted(path.name for path in (app / "releases").iterdir()) == ["three", "two"]
    assert call(app, "back", "--to", "one").returncode == 1


def test_prune_drops_what_was_given_up_before_what_served_well(app: Path) -> None:
    for release in ("one", "two", "three"):
        switch(app, release, f"runs {release}")
    call(app, "back", "--to", "one")
    prune(app, 2)
    assert sorted(path.name for path in (app / "releases").iterdir()) == ["one", "two"]


def test_a_release_in_use_by_a_process_stays(app: Path) -> None:
    for release in ("one", "two"):
        switch(app, release, f"runs {release}")
    with subprocess.Popen(["sleep", "60"], env={"PYTHONPATH": f"{app}/releases/one/lib"}) as training:
        prune(app, 1)
        assert (app / "releases/one").is_dir()
        training.kill()
    prune(app, 1)
    assert not (app / "releases/one").exists()


def test_old_environments_that_nothing_names_go(app: Path) -> None:
    apps = app.parent / "webui"
    environments = app.parent / "envs"
    used, young, unused = ("0" * 16, "1" * 16, "2" * 16)
    for name in (used, young, unused):
        (environments / name).mkdir(parents=True)
    (apps / "releases/one").mkdir(parents=True)
    (apps / "releases/one/manifest.json").write_text(json.dumps({"environment": used}))
    for name in (used, unused):
        os.utime(environments / name, (0, 0))
    prune(apps, 2)
    assert sorted(path.name for path in environments.iterdir()) == [used, young]


def test_an_application_without_a_service_is_only_pointed(app: Path) -> None:
    assert call(app, "switch", "--release", "one").returncode == 0
    assert call(app, "switch", "--release", "two").returncode == 0
    assert call(app, "back").returncode == 0
    assert (app / "current").readlink() == Path("releases/one")


@pytest.mark.parametrize(
    "damage",
    ["{", "[]", "null", '{"served": [5], "trying": null}', '{"served": [{"release": "../x"}], "trying": null}', "{}"],
)
def test_damaged_history_is_set_aside_and_nothing_of_it_lost(app: Path, damage: str) -> None:
    for release in ("one", "two"):
        switch(app, release, f"runs {release}")
    (app / "history.json").write_text(damage)
    done = call(app, "figures", '{"seconds": 1.5}')  # as while the gates of an update run
    assert "was damaged and is history.json.damaged now; its copy is used" in done.stderr
    assert (app / "history.json.damaged").read_text() == damage
    served = json.loads((app / "history.json").read_text())["served"]
    assert [entry.get("figures") for entry in served] == [None, {"seconds": 1.5}]
    (app / "history.json").unlink()
    assert call(app, "back").stdout.startswith("two -> one in ")
    assert state(app) == ("one", "runs one")


@pytest.mark.parametrize("damage", ["{", "[]"])
def test_damaged_history_without_a_copy_is_begun_anew(app: Path, damage: str) -> None:
    switch(app, "one", "runs one")
    (app / "history.json.copy").unlink()  # none of an older sdfleet
    (app / "history.json").write_text(damage)
    done = switch(app, "two", "runs two")
    assert done.returncode == 0 and "is history.json.damaged now; a new one is begun" in done.stderr
    served = json.loads((app / "history.json").read_text())["served"]
    assert [entry["release"] for entry in served] == ["one", "two"]
    assert (app / "history.json.damaged").read_text() == damage


ARGPARSE = """usage: launch.py [-h] [--update-all-extensions]
                 [--skip-python-version-check]
launch.py: error: unrecognized arguments: --nosuchflag
"""
CHAIN = """Traceback (most recent call last):
  File "anyio/streams/memory.py", line 98, in receive
    return self.receive_nowait()
anyio.EndOfStream

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/x/extensions/bad/scripts/bad.py", line 3, in <module>
    raise RuntimeError("the extension is broken")
RuntimeError: the extension is broken
"""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (ARGPARSE, "unrecognized arguments: --nosuchflag"),
        (CHAIN, "RuntimeError: the extension is broken"),
        (CHAIN.replace("RuntimeError", "my.own.Problem"), "my.own.Problem: the extension is broken"),
        (
            "error: RPC failed\nerror: No space left on device\nfatal: fetch-pack: invalid index-pack output\n",
            "error: No space left on device",
        ),
        (
            "Traceback (most recent call last):\n  File ...\nRuntimeError: Error(s) in loading state_dict for Model:\n"
            "\tsize mismatch for time_embed.0.weight: ([128, 32]) and ([1280, 320]).\n\tsize mismatch for b\n",
            "RuntimeError: Error(s) in loading state_dict for Model: size mismatch for time_embed.0.weight: "
            "([128, 32]) and ([1280, 320]).",
        ),
        ("one\ntwo\nthree\nfour\nfive\n", "two | three | four | five"),
        ("", "it wrote nothing"),
        (
            "ERROR: ld.so: object 'libtcmalloc_minimal.so.4' from LD_PRELOAD cannot be preloaded (cannot open shared "
            "object file): ignored.\n",
            "it wrote nothing",
        ),
    ],
)
def test_the_reason_is_the_line_that_says_why(text: str, why: str) -> None:
    assert reason(text.splitlines()) == why


def test_what_the_runner_says_already_is_not_said_again(app: Path) -> None:
    switch(app, "one", "runs one")
    lines = "Traceback (most recent call last):\n  File\nRuntimeError: no tiles\n"
    (app.parent / "journal").write_text(f"sdfleet: starting\n{lines}sdfleet: it answered 500: RuntimeError: no tiles\n")
    (app.parent / "programs/journalctl").write_text('#!/bin/sh\ncat "$HERE/journal"\n')
    done = switch(app, "two", "broken")
    assert "did not become ready: it answered 500: RuntimeError: no tiles; went back to one" in done.stderr


def test_the_runner_says_what_happened_and_the_program_why(app: Path) -> None:
    switch(app, "one", "runs one")
    lines = f"sdfleet: starting\n{ARGPARSE}sdfleet: the WebUI ended with status 2 before it had started\n"
    (app.parent / "journal").write_text(lines)
    (app.parent / "programs/journalctl").write_text('#!/bin/sh\ncat "$HERE/journal"\n')
    done = switch(app, "two", "broken")
    ended = "the WebUI ended with status 2 before it had started: unrecognized arguments: --nosuchflag"
    assert f"it.service did not become ready: {ended}; went back to one" in done.stderr


def test_a_program_that_gives_up_in_a_sentence_is_quoted(app: Path) -> None:
    switch(app, "one", "runs one")
    ended = "the WebUI ended with status 1 before it had started"
    sentence = "tiles: this extension needs a newer WebUI"
    (app.parent / "programs/journalctl").write_text('#!/bin/sh\ncat "$HERE/journal"\n')
    harmless = "No module 'xformers'. Proceeding without it."
    for written, told in (
        (f"{harmless}\n{sentence}\n", f"{ended}; its last line: {sentence}; went back to one"),
        (f"{harmless}\n", f"{ended}; went back to one"),
    ):
        (app.parent / "journal").write_text(f"sdfleet: starting\n{written}sdfleet: {ended}\n")
        assert f"it.service did not become ready: {told}" in switch(app, "two", "broken").stderr


def test_only_a_full_disk_is_told_to_make_room(app: Path) -> None:
    switch(app, "one", "runs one")
    lost = call(app, "switch", "--release", "two", "--unit", str(app.parent / "it.service"), "--text", "/none/text")
    assert lost.returncode == 1
    assert lost.stderr.strip() == "/none/text: No such file or directory"
