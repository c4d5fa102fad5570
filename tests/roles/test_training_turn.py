"""A run's turn: which GPU it takes, what it waits for, and how it treats the WebUI. The cards are made of text."""

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests import onhost

pytestmark = pytest.mark.slow

TRAINER = """#!/bin/sh
echo "gpus=$CUDA_VISIBLE_DEVICES $* order=$CUDA_DEVICE_ORDER" >>"$(dirname "$0")/started"
exec sleep "${HOLD:-0}"
"""
PATIENCE = 90
"""Seconds that a program may take on a busy machine."""


@dataclass
class Host:
    """A folder that stands for a host: its tools, locks, and a run."""

    folder: Path
    program: Path | None = None
    """The trainer, if not the stand-in."""

    def cards(self, *cards: tuple[int, int, int]) -> None:
        """What nvidia-smi says: index, total and free MiB."""
        (self.folder / "cards").write_text("".join(f"{i}, Card, {total}, {free}\n" for i, total, free in cards))

    def start(self, run: str = "ink", hold: float = 0, **wants: Any) -> "subprocess.Popen[str]":
        """Start a run that wants `wants` and trains for `hold` seconds."""
        (self.folder / run).mkdir(exist_ok=True)
        needs = {"device": "auto", "gpus": 1, "memory_mb": 6000, "allowed": 8, "webui": None, "nodes": None, **wants}
        (self.folder / run / "turn.json").write_text(json.dumps(needs))
        command = onhost.words("training_turn", "take", self.folder / run, self.folder / "locks")
        environment = {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "HOLD": str(hold)}
        return subprocess.Popen(
            [*command, str(self.program or self.folder / "trainer")], env=environment, stderr=subprocess.PIPE, text=True
        )

    def after(self, run: str = "ink") -> None:
        """What systemd does when the run has ended."""
        environment = {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        subprocess.run(onhost.words("training_turn", "after", self.folder / run), env=environment, check=True)

    def started(self) -> list[str]:
        """What the trainers were started with."""
        log = self.folder / "started"
        return log.read_text().splitlines() if log.exists() else []

    def wait_for(self, count: int) -> list[str]:
        """Until so many have started."""
        deadline = time.monotonic() + PATIENCE
        while len(self.started()) < count:
            assert time.monotonic() < deadline, self.started()
            time.sleep(0.05)
        return self.started()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for folder in ("bin", "locks"):
        (tmp_path / folder).mkdir()
    tools = {"bin/nvidia-smi": f"#!/bin/sh\ncat {tmp_path}/cards\n", "bin/systemctl": "#!/bin/sh\necho active\n"}
    for name, text in {**tools, "trainer": TRAINER}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return Host(tmp_path)


@pytest.fixture
def webui(host: Host) -> Iterator[dict[str, Any]]:
    """A WebUI that gives 8000 MiB of GPU 0 back when it unloads; the run's view of it."""
    asked: list[str] = []

    class Api(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path.rpartition("/")[2])
            self.rfile.read(int(self.headers["Content-Length"]))
            if asked[-1] in ("unload-checkpoint", "free"):
                host.cards((0, 12000, 11000))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {"policy": "unload", "unit": "w.service", "port": server.server_port, "gpu": 0, "asked": asked}
        server.shutdown()


def wants_webui(webui: dict[str, Any], policy: str) -> dict[str, Any]:
    return {**{key: value for key, value in webui.items() if key != "asked"}, "policy": policy}


def test_the_card_with_most_free_memory_is_taken(host: Host) -> None:
    host.cards((0, 24000, 9000), (1, 24000, 20000))
    assert host.start().wait(PATIENCE) == 0
    assert host.started()[0].startswith("gpus=1 run ")


def test_each_gpu_trains_one_run_and_the_third_waits(host: Host) -> None:
    host.cards((0, 12000, 11000), (1, 12000, 10000))
    first, second = host.start("a", hold=600), host.start("b", hold=600)
    assert sorted(line.split()[0] for line in host.wait_for(2)) == ["gpus=0", "gpus=1"]
    third = host.start("c")
    time.sleep(1)
    assert len(host.started()) == 2
    first.kill()
    assert third.wait(PATIENCE) == 0
    assert len(host.started()) == 3
    second.kill()


def test_a_run_goes_on_with_the_trainer_that_wrote_its_checkpoint(host: Host) -> None:
    releases = host.folder / "trainer-app/releases"
    for release in ("a" * 16, "b" * 16):
        (place := releases / release / "bin").mkdir(parents=True)
        (place / "lora-train").write_text(f"#!/bin/sh\necho {release} >>{host.folder}/started\n")
        (place / "lora-train").chmod(0o755)
    (current := releases.parent / "current").symlink_to(releases / ("b" * 16))
    host.program = current / "bin/lora-train"
    host.cards((0, 12000, 11000))
    (run := host.folder / "ink").mkdir()
    (run / "run.json").write_text(json.dumps({"code": {"release": "a" * 16}}))
    assert host.start().wait(PATIENCE) == 0  # nothing would be lost
    (run / "checkpoint/step-1").mkdir(parents=True)
    assert host.start().wait(PATIENCE) == 0
    for strange in ("", "../../x", 7, None):  # started by hand, or no release at all
        (run / "run.json").write_text(json.dumps({"code": {"release": strange}}))
        assert host.start().wait(PATIENCE) == 0
    (run / "run.json").write_text('{"code": []}')
    assert host.start().wait(PATIENCE) == 0
    assert host.started() == ["b" * 16, "a" * 16, *["b" * 16] * 5]
    (run / "run.json").write_text(json.dumps({"code": {"release": "c" * 16}}))  # removed meanwhile
    refused = host.start()
    _, said = refused.communicate(timeout=PATIENCE)
    assert refused.returncode == 1 and len(host.started()) == 7
    assert said.strip() == (
        "ink: its checkpoint is of the trainer cccccccccccccccc, which this host has removed; `sdfleet train resume "
        "ink` builds it again"
    )
    assert host.start(lost_trainer="d" * 16).wait(PATIENCE) == 1
    assert host.start(lost_trainer="c" * 16).wait(PATIENCE) == 0, "as `train resume` says where it cannot be built"
    (run / "checkpoint/step-1").rename(run / "checkpoint/.step-1.7.part")
    assert host.start().wait(PATIENCE) == 0, "no checkpoint, only what a cut-off write left"
    assert host.started()[7:] == ["b" * 16] * 2


def test_a_run_waits_for_an_nvidia_smi_that_is_slow_and_does_not_take_the_cpu(host: Host) -> None:
    (host.folder / "run.json").write_text("{}")
    (host.folder / "bin/nvidia-smi").write_text("#!/bin/sh\nexec sleep 600\n")
    (host.folder / "ink").mkdir()
    code = (
        "from pathlib import Path; from roles.onhost import commands, training_turn; commands.SECONDS = 0.2; "
        "print(training_turn._try({'device': 'auto', 'allowed': 8}, Path('locks'), Path('ink')))"
    )
    environment = {**os.environ, "PATH": f"{host.folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=host.folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout == "[]\n", done.stderr
    told = json.loads((host.folder / "ink/turn-state.json").read_text())
    assert told["text"] == "waiting for nvidia-smi, which did not answer within 0.2 s"


def test_two_gpus_for_one_run(host: Host) -> None:
    host.cards((0, 12000, 11000), (1, 12000, 10000), (2, 4000, 4000))
    assert host.start(gpus=2).wait(PATIENCE) == 0
    assert host.started()[0].startswith("gpus=0,1 ")
    assert host.started()[0].endswith("order=PCI_BUS_ID")


def test_only_allowed_cards_are_used(host: Host) -> None:
    host.cards((0, 12000, 8000), (1, 24000, 23000))
    assert host.start(allowed=1).wait(PATIENCE) == 0
    assert host.started()[0].startswith("gpus=0 ")


def test_a_card_that_is_too_small_is_refused_with_the_numbers(host: Host) -> None:
    host.cards((0, 4000, 4000))
    process = host.start()
    assert process.wait(PATIENCE) == 1
    assert process.stderr and "needs 1 GPU(s) with 6000 MiB each, but GPU 0 has 4000 MiB" in process.stderr.read()


def test_without_a_card_the_cpu_is_taken_unless_cuda_is_asked_for(host: Host) -> None:
    host.cards()
    assert host.start().wait(PATIENCE) == 0
    assert host.started()[0].startswith("gpus= ")
    process = host.start(device="cuda")
    assert process.wait(PATIENCE) == 1
    assert process.stderr and "no GPU may be used here" in process.stderr.read()


def test_webui_unloads_and_loads_again(host: Host, webui: dict[str, Any]) -> None:
    host.cards((0, 12000, 3000))
    assert host.start(webui=wants_webui(webui, "unload")).wait(PATIENCE) == 0
    assert webui["asked"] == ["unload-checkpoint"]
    host.after()
    assert webui["asked"] == ["unload-checkpoint", "reload-checkpoint"]
    host.after()
    assert len(webui["asked"]) == 2


def test_comfyui_gives_its_memory_back_and_need_not_load_again(host: Host, webui: dict[str, Any]) -> None:
    host.cards((0, 12000, 3000))
    assert host.start(comfyui=wants_webui(webui, "unload")).wait(PATIENCE) == 0
    host.after()
    assert webui["asked"] == ["free"]


def test_both_make_room_on_one_card(host: Host, webui: dict[str, Any]) -> None:
    host.cards((0, 12000, 3000))
    its = wants_webui(webui, "unload")
    assert host.start(webui=its, comfyui=its).wait(PATIENCE) == 0
    assert webui["asked"] == ["unload-checkpoint", "free"]


def test_webui_loads_again_after_a_run_that_waited_for_comfyui_and_was_stopped(
    host: Host, webui: dict[str, Any]
) -> None:
    host.cards((0, 12000, 3000))
    process = host.start(webui=wants_webui(webui, "unload"), comfyui={**wants_webui(webui, "unload"), "port": 9})
    deadline, said = time.monotonic() + PATIENCE, host.folder / "ink/turn-state.json"
    while not (said.exists() and "ComfyUI to unload its model: it does not answer" in said.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    host.after()
    assert webui["asked"][-1] == "reload-checkpoint"


def test_webui_is_left_alone_where_another_card_is_free(host: Host, webui: dict[str, Any]) -> None:
    host.cards((0, 12000, 11000), (1, 12000, 7000))
    assert host.start(webui=wants_webui(webui, "unload")).wait(PATIENCE) == 0
    assert host.started()[0].startswith("gpus=1 ") and webui["asked"] == []


def test_refuse_wait_and_share(host: Host, webui: dict[str, Any]) -> None:
    host.cards((0, 12000, 9000))
    refused = host.start(webui=wants_webui(webui, "refuse"))
    assert refused.wait(PATIENCE) == 1
    assert refused.stderr and "the WebUI uses GPU 0, and trainer.beside_webui is refuse" in refused.stderr.read()
    waiting = host.start(webui=wants_webui(webui, "wait"))
    time.sleep(1)
    assert host.started() == [] and waiting.poll() is None
    waiting.kill()
    waiting.wait()
    assert host.start(webui=wants_webui(webui, "share")).wait(PATIENCE) == 0
    assert webui["asked"] == []


def test_a_finished_run_is_not_begun_again(host: Host) -> None:
    (host.folder / "ink").mkdir()
    command = onhost.words("training_turn", "finished", host.folder / "ink")
    assert subprocess.run(command).returncode == 0
    (host.folder / "ink/run.json").write_text(json.dumps({"ended": {"how": "stopped"}}))
    assert subprocess.run(command).returncode == 0
    (host.folder / "ink/run.json").write_text(json.dumps({"ended": {"how": "finished"}}))
    assert subprocess.run(command).returncode == 1


def test_the_queue_is_kept_by_whoever_is_next(host: Host) -> None:
    host.cards((0, 12000, 11000))
    with (host.folder / "locks/queue").open("w") as queue:
        fcntl.flock(queue, fcntl.LOCK_EX)
        process = host.start()
        time.sleep(0.5)
        assert host.started() == []
    assert process.wait(PATIENCE) == 0
