"""The verbs that work on hosts, on real ones: status, verify, open, logs, and trainings with a stand-in trainer."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

from deploy import units
from deploy.connection.several import connect
from inventory.load import load
from lab import Lab
from lab.fleet import write
from roles.managers import SYSTEMD
from roles.paths import UNITS
from roles.programs import installed
from roles.trainer.rendering import SLICE, UNIT, program, train_slice, turns, unit

pytestmark = pytest.mark.lab

TREE = Path(__file__).resolve().parents[2]
TRAINER = Path(__file__).with_name("fake_trainer.py")
SERVICE = """[Service]
ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory /etc/default 7860
"""
PREPARE = """
id sdtrain >/dev/null 2>&1 || useradd --system --user-group sdtrain
chmod 755 {program}; mkdir -p {runs} {datasets} {lora} {turns}; chown sdtrain {turns}
systemctl daemon-reload; systemctl restart {webui}
"""

Sdfleet = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the lab's fleet.toml and a training config; the hosts have a stand-in trainer and WebUI."""
    here = tmp_path_factory.mktemp("operating")
    models = [{"name": "sd15", "kind": "checkpoint", "source": "https://x.invalid/f.safetensors"}]
    write(lab, ["webui", "train"], {"models": models}, here / "fleet.toml")
    training_set(here, "ink")
    with connect(load(here / "fleet.toml").hosts.values()) as remotes:
        for remote in remotes.values():
            paths, trainer = remote.host.paths, remote.host.trainer
            trainer_command = program(paths.current("trainer"))
            files: dict[PurePosixPath, Path | bytes] = {
                UNIT: unit(trainer, paths, SYSTEMD).encode(),
                SLICE: train_slice(trainer).encode(),
                paths.onhost: installed(),
                UNITS / units.WEBUI: SERVICE.encode(),
                trainer_command: TRAINER,
                paths.webui_models / "Stable-diffusion/sd15.safetensors": b"a model",
            }
            remote.push(files)
            values: dict[str, object] = {"program": trainer_command, "runs": paths.runs, "datasets": paths.datasets}
            values |= {"turns": turns(paths), "lora": paths.webui_models / "Lora", "webui": units.WEBUI}
            remote.run(["sh", "-ec", PREPARE.format(**values)])
    return here


def training_set(folder: Path, name: str) -> Path:
    """Write NAME.toml, a training config with three pictures of its own; returns the pictures' folder."""
    pictures = folder / name / "2_cat"
    pictures.mkdir(parents=True)
    for number in range(3):
        (pictures / f"{number}.png").write_bytes(os.urandom(2000))
    (folder / f"{name}.toml").write_text(
        f'name = "ink"\n[model]\ncheckpoint = "sd15"\n[data]\nfolder = "{name}"\n[train]\nsteps = 20\n'
    )
    return pictures


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-c", "import sdfleet; sdfleet.main()", *arguments]


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(TREE), "COLUMNS": "250", "NO_COLOR": "1"}


@pytest.fixture
def sdfleet(folder: Path, environment: dict[str, str]) -> Sdfleet:
    """Runs the program in the folder."""

    def run(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command(*arguments), cwd=folder, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == status, (done.stdout, done.stderr)
        return done

    return run


@contextlib.contextmanager
def started(folder: Path, environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The program, running; ended with Ctrl-C if it still does at the end."""
    with subprocess.Popen(
        command(*arguments), cwd=folder, env=environment, stdout=-1, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)


def line_with(process: subprocess.Popen[str], text: str) -> str:
    """The program's next line that holds `text`."""
    assert process.stdout
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return line
    raise AssertionError("".join(seen))


def test_status_tells_of_every_host(sdfleet: Sdfleet) -> None:
    shown = sdfleet("status").stdout.splitlines()
    assert [line.split()[:4] for line in shown[1:3]] == [["h1", "yes", "Debian", "12"], ["h2", "yes", "Debian", "12"]]
    assert "1/2" in shown[1], "the model is there, the tokenizer that every WebUI needs is not"


def test_host_that_is_off_is_named_and_the_others_are_shown(lab: Lab, sdfleet: Sdfleet) -> None:
    lab.kill("h2")
    try:
        done = sdfleet("status", status=1)
        assert "h1    yes" in done.stdout and "h2    no" in done.stdout
        assert "h2 (root@127.0.0.1:" in done.stderr
        assert sdfleet("verify", "--role", "base", status=1).stdout.count("unreachable") == 1
    finally:
        lab.start("h2")


def test_wrong_host_key_is_refused(lab: Lab, folder: Path, sdfleet: Sdfleet) -> None:
    h1, h2 = lab.hosts
    swapped = lab.known_hosts.read_text().replace(f":{h1.port} ", ":0 ").replace(f":{h2.port},", f":{h1.port},")
    (folder / "swapped").write_text(
        swapped.replace(f"]:{h1.port},", "]:0,", 1).replace(f"]:{h2.port},", f"]:{h1.port},")
    )
    text = (folder / "fleet.toml").read_text().replace(str(lab.known_hosts), "swapped")
    (folder / "swapped.toml").write_text(text)
    done = sdfleet("status", "--fleet", "swapped.toml", "--limit", "h1", status=1)
    assert "its host key is not" in done.stderr


def test_logs_and_a_unit_that_is_not_there(sdfleet: Sdfleet) -> None:
    assert "Started" in sdfleet("logs", "h1").stdout
    assert f"h1: there is no {units.TENSORBOARD}" in sdfleet("logs", "h1", "tensorboard", status=1).stderr


def test_a_command_a_shell_and_logs_on_both_hosts(sdfleet: Sdfleet) -> None:
    everywhere = sdfleet("exec", "webui", "--", "hostname; echo to stderr >&2")
    assert sorted(everywhere.stdout.split()) == ["h1", "h1", "h2", "h2"]
    assert sorted(everywhere.stderr.splitlines())[1:] == ["h1  to stderr", "h2  to stderr"]
    assert sdfleet("ssh", "h2", "--", "sh", "-c", "id -un; exit 7", status=7).stdout == "root\n"
    lines = sdfleet("logs", "webui", "-n", "5").stdout.splitlines()
    assert len(lines) <= 10 and {line.split()[0] for line in lines} == {"h1", "h2"}
    assert "Started" in sdfleet("logs", "webui", "-n", "1000").stdout
    told = json.loads(sdfleet("status", "--json").stdout)["hosts"]
    assert told["h1"]["webui"]["unit"] == "active/running" and {each["error"] for each in told.values()} == {None}


def test_open_answers_and_survives_a_cut(lab: Lab, folder: Path, environment: dict[str, str]) -> None:
    with started(folder, environment, "open", "h1") as process:
        line = line_with(process, "webui of h1")
        url = re.findall(r"http://127\.0\.0\.1:\d+/", line)[0]
        assert "useradd" in urllib.request.urlopen(url, timeout=30).read().decode()
        lab.ssh("h1", "pkill -f sshd:.root")
        line_with(process, "was lost")
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                assert urllib.request.urlopen(url, timeout=30).status == 200
                break
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_run_is_followed_and_fetched_and_pictures_travel_once(folder: Path, sdfleet: Sdfleet) -> None:
    pictures = training_set(folder, "travels")
    first = sdfleet("train", "run", "travels.toml", "--on", "h1", "--name", "one").stdout
    assert "Sending one to h1: 3 of 3 file(s) are new" in first
    assert "one finished: step 20/20" in first
    assert (folder / "runs/one/output/ink.safetensors").stat().st_size == 3_200_000
    (pictures / "4.png").write_bytes(os.urandom(2000))
    second = sdfleet("train", "run", "travels.toml", "--on", "h1", "--name", "two", "--set", "train.steps=3").stdout
    assert "Sending two to h1: 1 of 4 file(s) are new" in second
    assert (
        "there is already a run with this name"
        in sdfleet("train", "run", "travels.toml", "--on", "h1", "--name", "two", status=1).stderr
    )


def test_a_second_run_waits_and_a_stopped_one_goes_on(folder: Path, sdfleet: Sdfleet) -> None:
    for run, name in (("long", "holds"), ("next", "ink")):
        sdfleet("train", "run", "ink.toml", "--on", "h2", "--name", run, "--no-follow", "--set", f"name={name}")
    listed = sdfleet("train", "list").stdout
    assert re.search(r"long +h2 +running", listed) and re.search(r"next +h2 +queued", listed)
    sdfleet("train", "stop", "long")
    assert re.search(r"long +h2 +stopped", sdfleet("train", "list").stdout)
    assert "next finished: step 20/20" in sdfleet("train", "follow", "next").stdout
    assert "long finished: step 20/20" in sdfleet("train", "resume", "long").stdout
    log = (folder / "runs/long/log.jsonl").read_text()
    assert log.count('"event": "start"') == 2 and log.count('"event": "step"') == 20
    undisturbed, resumed = (folder / f"runs/{file}.safetensors" for file in ("next/output/ink", "long/output/holds"))
    assert undisturbed.read_bytes() == resumed.read_bytes()


def test_a_run_outlives_controller_connection_and_reboot(
    lab: Lab, folder: Path, environment: dict[str, str], sdfleet: Sdfleet
) -> None:
    with started(
        folder, environment, "train", "run", "ink.toml", "--on", "h2", "--name", "tough", "--set", "name=holds"
    ) as process:
        line_with(process, "Following tough")
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert "sdfleet train follow tough" in line_with(process, "The run continues")
        assert process.wait(60) == 130
    with started(folder, environment, "train", "follow", "tough") as process:
        line_with(process, "Following tough on h2")
        time.sleep(1)
        lab.ssh("h2", "pkill -f sshd:.root")
        lab.reboot("h2")
        line_with(process, "tough finished: step 20/20")
        assert process.wait(60) == 0
    assert (folder / "runs/tough/log.jsonl").read_text().count('"event": "start"') == 2


def test_failure_is_told_in_the_trainers_words(sdfleet: Sdfleet) -> None:
    done = sdfleet("train", "run", "ink.toml", "--on", "h1", "--name", "bad", "--set", "name=fails", status=1)
    assert "bad failed on h1: the loss is not a number at step 3; see: sdfleet logs h1 bad" in done.stderr


def test_published_on_every_webui_and_removed(lab: Lab, sdfleet: Sdfleet) -> None:
    sdfleet("train", "run", "ink.toml", "--on", "h1", "--name", "three", "--set", "train.steps=3")
    assert "<lora:cats:1>" in sdfleet("train", "publish", "three", "--as", "cats").stdout
    assert sdfleet("train", "publish", "three", "--as", "cats").stdout.count("was already published") == 2
    link = "/srv/sdfleet/data/webui/models/Lora/cats.safetensors"
    for host in ("h1", "h2"):
        digest, name = lab.ssh(host, f"sha256sum < {link}; readlink {link}").stdout.split()[0::2]
        assert name.endswith(f"store/sha256/{digest[:2]}/{digest}")
        assert '"source": "run:three"' in lab.ssh(host, "cat /srv/sdfleet/store/published.json").stdout
    sdfleet("train", "remove", "three")
    assert "three" not in sdfleet("train", "list").stdout
    assert lab.ssh("h1", f"test -e {link}").returncode == 0


def test_nothing_is_half_made_when_sending_breaks(lab: Lab, folder: Path, sdfleet: Sdfleet) -> None:
    (training_set(folder, "large") / "big.png").write_bytes(os.urandom(300_000))
    lab.ssh("h1", "systemctl is-active -q nothing; mount -t tmpfs -o size=64k tight /srv/sdfleet/datasets")
    try:
        sdfleet("train", "run", "large.toml", "--on", "h1", "--name", "full", status=1)
        assert lab.ssh("h1", "ls -A /srv/sdfleet/runs | grep full").stdout == ""
    finally:
        lab.ssh("h1", "umount /srv/sdfleet/datasets")
    assert "full finished" in sdfleet("train", "run", "large.toml", "--on", "h1", "--name", "full").stdout
