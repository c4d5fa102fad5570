"""What a run can make of its own folder while root lists, reads, resumes, fetches and takes it over."""

import getpass
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.onhost import run_inputs, runs
from roles.onhost import nofollow
from tests import onhost

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run as it lies on its host."""
    folder = tmp_path / "runs/ink"
    run_inputs.create(str(folder), str(tmp_path / "datasets"), str(tmp_path / "none"), {}, "text", {"gpus": 1}, me())
    (folder / "log.jsonl").write_text('{"event": "step", "step": 1}\n')
    return folder


def me() -> str:
    return getpass.getuser()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text('{"event": "step", "nodes": "secret", "ended": {"how": "failed", "reason": "secret"}}\n')
    return file


def test_its_folder_is_sticky(run: Path) -> None:
    assert run.stat().st_mode & 0o7777 == 0o1775


def test_a_slot_file_is_not_written_through_a_link(run: Path, secret: Path) -> None:
    before = secret.read_text()
    (run / ".turn.json.new").symlink_to(secret)
    assert runs.main("turn", run=str(run), wants={"nodes": None}) == {}
    assert secret.read_text() == before
    assert json.loads((run / "turn.json").read_text()) == {"gpus": 1, "nodes": None}


def test_links_show_nothing_of_what_they_lead_to(run: Path, secret: Path) -> None:
    for name in ("log.jsonl", "run.json", "turn.json", "turn-state.json"):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(secret)
    (run / "output").mkdir()
    (run / "output/a.safetensors").symlink_to(secret)
    answers = [
        runs.main("list", runs=str(run.parent)),
        runs.main("read", run=str(run), offset=0),
        runs.main("files", run=str(run)),
        runs.main("states", runs=str(run.parent)),
    ]
    assert "secret" not in json.dumps(answers), answers
    assert list(answers[2]) == ["config.toml"]


def _sparse(place: Path) -> None:
    place.touch()
    os.truncate(place, 1 << 42)


def _endless(place: Path) -> None:
    place.symlink_to("/dev/zero")


@pytest.mark.parametrize("plant", [os.mkfifo, _sparse, _endless, Path.mkdir])
def test_fifos_and_files_without_end_hold_nobody_up(plant: Callable[[Path], None], run: Path) -> None:
    for name in ("run.json", "log.jsonl", "turn-state.json"):
        (run / name).unlink(missing_ok=True)
        plant(run / name)
    (run / "checkpoint").mkdir()
    plant(run / "checkpoint/step-1")
    (run / "output").mkdir()
    with (run / "output/a.safetensors").open("wb") as file:
        file.truncate(1 << 42)
    program = (
        "import sys; from pathlib import Path; from deploy.onhost import runs; run = sys.argv[1]; "
        "above = str(Path(run).parent); runs.main('list', runs=above); runs.main('states', runs=above); "
        "runs.main('read', run=run, offset=0); assert runs.main('began', run=run) == {'release': ''}; "
        "assert runs.main('capacity', runs=above, allowed=1)['running'] == 0; "
        "assert runs.main('turn', run=run, wants={'gpus': 1}) == {}; "
        "print([name for name, facts in runs.main('files', run=run).items() if facts['sha256']])"
    )
    done = subprocess.run([sys.executable, "-c", program, str(run)], timeout=20, capture_output=True, text=True)
    assert done.stdout == "['config.toml', 'turn.json']\n", done.stderr


def test_a_run_that_is_too_much_to_fetch_says_so(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "output").mkdir()
    for number in range(20):
        (run / f"output/{number}").write_text("x")
    monkeypatch.setattr(runs, "MOST_FILES", 22)
    with monkeypatch.context() as reading:
        reading.setattr(runs, "sha256_of", lambda *_: pytest.fail("a file was read, although they are too many"))
        assert runs.main("files", run=str(run)) == {"error": runs.TOO_MUCH}
        reading.setattr(runs, "LARGEST_RUN", 20)
        reading.setattr(runs, "MOST_FILES", 23)
        assert runs.main("files", run=str(run)) == {"error": runs.TOO_MUCH}
    monkeypatch.setattr(runs, "MOST_FILES", 23)
    assert len(runs.main("files", run=str(run))) == 23
    monkeypatch.setattr(runs, "LARGEST_RUN", 20)
    assert runs.main("files", run=str(run)) == {"error": runs.TOO_MUCH}
    monkeypatch.setattr(runs, "LARGEST", 0)
    assert runs.main("files", run=str(run))["output/0"] == {"size": 1, "sha256": None}


def test_a_folder_of_too_many_names_is_not_read(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "samples").mkdir()
    for number in range(6):
        (run / f"samples/{number}").touch()
    monkeypatch.setattr(nofollow, "MOST_NAMES", 5)
    assert runs.main("files", run=str(run)) == {"error": f"{run}/samples holds more than 5 files"}


@pytest.mark.slow
def test_a_record_of_many_values_takes_little_memory(run: Path) -> None:
    (run / "run.json").write_text('{"ended": {"how": "finished"}, "losses": [' + "[[[]]]," * 9_000_000 + "0]}")
    (run / "log.jsonl").write_text("{}\n" * 9_000_000 + '{"event": "error", "message": "last"}\n')
    # Not ru_maxrss, which begins with what the program that started this one held.
    program = (
        "import re, sys; from deploy.onhost import runs; [run] = runs.main('list', runs=sys.argv[1]); "
        "[peak] = re.findall(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read()); "
        "print(run['state'], run['last']['message'], int(peak) < 400_000)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(run.parent)], capture_output=True, text=True)
    assert done.stdout == "failed last True\n", done


@pytest.mark.parametrize("line", ["[" * 100_000, "[1, 2]", '"text"', "7"])
def test_a_strange_line_of_a_log_is_left_out(run: Path, line: str) -> None:
    with (run / "log.jsonl").open("a") as log:
        log.write(line + "\n")
    [found] = runs.main("list", runs=str(run.parent))
    assert found["last"] == {"event": "step", "step": 1}


def test_a_file_is_sent_to_its_size_and_no_link_is(run: Path, secret: Path) -> None:
    def sent(path: Path, size: int) -> "subprocess.CompletedProcess[str]":
        return onhost.send("send_file", path, 2, size, timeout=20)

    (run / "out").write_text("0123456789")
    assert sent(run / "out", 5).stdout == "234"
    (run / "link").symlink_to(secret)
    os.mkfifo(run / "fifo")
    for name in ("link", "fifo"):
        done = sent(run / name, 100)
        assert done.returncode == 1 and done.stdout == "", name


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives folders away")
def test_runs_of_an_older_sdfleet_are_taken_over_without_loss(tmp_path: Path) -> None:
    """Their trainers wrote config.toml anew, complete and as their own user, and do so again."""
    for name in ("begun", "waiting", "swapped"):
        folder = tmp_path / name
        (folder / "inputs").mkdir(parents=True)
        for file in ("config.toml", "turn.json", "log.jsonl"):
            (folder / file).write_text(name)
            os.utime(folder / file, (1_700_000_000, 1_700_000_000))
        os.chown(folder / "log.jsonl", 65534, 65534)
        os.chown(folder, 65534, 65534)
    for file in ("begun/config.toml", "swapped/turn.json"):
        os.chown(tmp_path / file, 65534, 65534)
    done = onhost.send("take_over_runs", tmp_path, "nobody")
    assert done.stdout == "swapped: turn.json was not root's and has another name now\n"
    for name in ("begun", "waiting", "swapped"):
        found = (tmp_path / name).stat()
        assert (found.st_uid, found.st_mode & 0o7777) == (0, 0o1775)
        assert (tmp_path / name / "log.jsonl").read_text() == name
        assert runs.config(str(tmp_path / name)) == name
        assert (tmp_path / name / "config.toml").stat().st_mtime == 1_700_000_000, "a run is as old as its config"
    assert {run["name"] for run in runs.main("list", runs=str(tmp_path))} == {"begun", "waiting", "swapped"}
    assert (tmp_path / "swapped/turn.json.not-given").read_text() == "swapped"


@pytest.mark.parametrize("planted", ["link", "fifo", "sparse"])
def test_a_config_that_is_no_file_of_its_own_shows_nothing_and_holds_nobody(planted: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("root's")
    config = tmp_path / "config.toml"
    if planted == "link":
        config.symlink_to(tmp_path / "secret")
    elif planted == "fifo":
        os.mkfifo(config)
    else:
        config.touch()
        os.truncate(config, 1 << 40)
    with pytest.raises(OSError):
        runs.config(str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it gives folders away")
@pytest.mark.parametrize("turn", [{}, {"program": "/an/earlier/lora-train"}])
def test_only_a_trainer_of_its_own_writes_the_config_anew(turn: dict[str, str], tmp_path: Path) -> None:
    """As those of older sdfleets do at each start; else the run could not be reproduced."""
    run = tmp_path / "runs/ink"
    run_inputs.create(str(run), str(tmp_path / "datasets"), str(tmp_path / "none"), {}, "given", turn, "daemon")
    command = "for file in config.toml turn.json; do echo anew >new && mv -f new $file; done"
    subprocess.run(["sh", "-c", command], cwd=run, user="daemon", group="daemon", stderr=subprocess.DEVNULL)
    assert runs.config(str(run)) == ("anew\n" if turn else "given")
    assert json.loads((run / "turn.json").read_text()) == turn


def test_the_trainer_of_a_checkpoint_is_what_the_record_names(run: Path, secret: Path) -> None:
    (run / "run.json").write_text(json.dumps({"code": {"release": "a" * 16}}))
    assert runs.main("began", run=str(run)) == {"release": ""}
    (run / "checkpoint").symlink_to(secret.parent)
    assert runs.main("began", run=str(run)) == {"release": ""}
    (run / "checkpoint").unlink()
    (run / "checkpoint").mkdir()
    (run / "checkpoint/.step-1.7.part").touch()
    assert runs.main("began", run=str(run)) == {"release": ""}
    (run / "checkpoint/step-1").touch()
    assert runs.main("began", run=str(run)) == {"release": "a" * 16}
    for record in ("[1]", '{"code": 7}', "{}", "[" * 200_000):
        (run / "run.json").write_text(record)
        assert runs.main("began", run=str(run)) == {"release": ""}


DEEP = """
import os, sys
os.chdir(sys.argv[1])
for _ in range(3000):
    os.mkdir("d")
    os.chdir("d")
os.mkfifo("end")
"""
"""Folders within folders, deeper than any path can tell and than a process may have files open."""


def test_a_run_of_deeply_nested_folders_is_removed_and_keeps_no_other_from_starting(run: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", DEEP, str(run)], check=True)
    runs_folder, store = run.parent, tmp_path / "datasets"
    assert list(runs.main("files", run=str(run))) == ["config.toml", "log.jsonl", "turn.json"]
    (run / "log.jsonl").unlink()
    other = {"store": str(store), "incoming": str(tmp_path / "none"), "inputs": {}, "turn": {}, "user": me()}
    assert runs.main("create", run=str(run), config="another", **other) == {}, "it has not begun, and is made anew"
    subprocess.run([sys.executable, "-c", DEEP, str(run)], check=True)
    assert runs.main("remove", run=str(run), store=str(store)) == {}
    assert runs.main("create", run=str(runs_folder / "pen"), config="pen", **other) == {}
    assert [folder.name for folder in runs_folder.iterdir()] == ["pen"]
