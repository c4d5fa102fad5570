"""The README's commands for one's own servers, typed letter for letter against a lab's host."""

import os
import re
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import tomlkit

from lab import Lab, box, photos
from tests.install.environments import TREE, Environment, copy_of_checkout, make

pytestmark = pytest.mark.lab

HOST = "gpu-1"
RUN = "my-lora"
TRAINING = f"""
name = "{RUN}"
[model]
checkpoint = "tiny-sd15"
[data]
folder = "photos"
resolution = 64
[network]
rank = 2
alpha = 2
[train]
steps = 2
batch_size = 1
seed = 1
device = "cpu"
"""


def commands() -> list[str]:
    """The lines of the README's block, without their comments."""
    text = (TREE / "README.md").read_text()
    [block] = [block for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) if "sdfleet init" in block]
    return [line.partition(" #")[0].strip() for line in block.splitlines()]


@dataclass(frozen=True)
class Desk:
    """Where somebody sits who has cloned the project, has pipx, and has one server."""

    lab: Lab
    pipx: Environment
    folder: Path

    def variables(self) -> dict[str, str]:
        """The environment variables of the shell, in which pipx and $EDITOR work."""
        known = self.pipx.variables()
        places = {"PIPX_HOME": str(self.folder / "pipx"), "PIPX_BIN_DIR": str(self.folder / "bin")}
        editor = {"EDITOR": str(self.folder / "editor")}
        return {**known, **places, **editor, "PATH": f"{self.folder / 'bin'}:{known['PATH']}"}

    def start(self, line: str) -> "subprocess.Popen[str]":
        """Type a line: `pipx install .` in the clone, all else in a folder of the fleet's own."""
        command = ["bash", "-c", line]
        if line == "sdfleet lock":  # the lab's upstreams have their names inside its network alone
            command = self.lab.enter(command)
        return subprocess.Popen(
            command,
            cwd=self.folder / ("clone" if "install ." in line else "work"),
            env=self.variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def type(self, line: str) -> str:
        """Type a line and wait; the test fails if the command does. Returns what it said."""
        process = self.start(line)
        said, _ = process.communicate(timeout=900)
        assert process.returncode == 0, f"$ {line}\n{said}"
        return said

    def open(self, line: str) -> None:
        """Type a line that holds a tunnel, ask the WebUI through it, and press Ctrl-C."""
        process = self.start(line)
        try:
            assert process.stdout
            said = ""
            while not (url := re.search(r"http://127\.0\.0\.1:\d+", said)):
                more = process.stdout.readline()
                assert more, f"$ {line}\n{said}"
                said += more
            assert requests.get(f"{url[0]}/sdapi/v1/sd-models", timeout=60).status_code == 200
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(30)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A clone, pipx, a bare host, and an editor that writes this host into the fleet's file."""
    folder = tmp_path_factory.mktemp("desk")
    copy_of_checkout(folder / "clone")
    pipx = make(folder / "tools")
    pipx.install(["pipx"])
    work, drafts = folder / "work", folder / "drafts"
    for each in (work, drafts):
        each.mkdir()
    with box.attached(hosts=1) as lab:
        file = box.write_fleet(lab, drafts / "fleet.toml")
        document = tomlkit.parse(file.read_text())
        hosts = document["hosts"]
        assert isinstance(hosts, dict)
        hosts[HOST] = hosts.pop(lab.hosts[0].name)
        file.write_text(tomlkit.dumps(document))
        for lock in drafts.glob("*.lock.txt"):
            lock.rename(work / lock.name)
        editor = folder / "editor"
        editor.write_text(f'#!/bin/sh\ncp {file} "$1"\n')
        editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
        photos.write_training_set(work / "photos", 64)
        (work / f"{RUN}.toml").write_text(TRAINING)
        yield Desk(lab, pipx, folder)


@pytest.fixture(scope="module")
def typed(desk: Desk) -> Desk:
    """The same desk after all commands of the README's block, of which none failed."""
    for line in commands():
        began = time.monotonic()
        desk.open(line) if line.startswith("sdfleet open") else desk.type(line)
        print(f"{time.monotonic() - began:6.1f} s  $ {line}")
    return desk


def test_the_commands_for_ones_own_servers_work_as_they_stand(typed: Desk) -> None:
    assert (typed.folder / "work/fleet.lock").is_file()
    assert (typed.folder / f"work/runs/{RUN}/output/{RUN}.safetensors").is_file()
    program = typed.folder / "bin/sdfleet"
    assert program.resolve().is_relative_to(typed.folder / "pipx"), "what ran must be what pipx installed"


def test_the_verbs_beside_them_work_on_the_same_host(typed: Desk) -> None:
    assert HOST in typed.type("sdfleet status")
    assert "fleet.toml is valid" in typed.type("sdfleet doctor || test $? = 3")
    assert HOST in typed.type("sdfleet releases")
    typed.type("sdfleet drift")
    assert "properties" in typed.type("sdfleet schema")
    assert typed.type("sdfleet train list")


def test_pipx_is_what_the_missing_extra_is_installed_with(typed: Desk) -> None:
    said = typed.type("sdfleet demo 2>&1 || test $? = 2")
    assert f"sdfleet demo needs the lab extra: pipx install --force '{typed.folder / 'clone'}[lab]'" in said
