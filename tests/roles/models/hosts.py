"""The models role on the lab's hosts: its fleet.toml, the program that a person types, and what a host has."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lab import Lab
from lab import fleet as lab_fleet
from roles.paths import Paths
from tests.roles.models.conftest import digest, model

TREE = Path(__file__).resolve().parents[3]
PATHS = Paths()
LORAS = PATHS.data("webui") / "models/Lora"
INK = model(11, 4_000_000)


def fleet(lab: Lab, folder: Path, models: list[dict[str, Any]], **tables: Any) -> Path:
    """A fleet.toml with these models."""
    return lab_fleet.write(lab, tables={"models": models, **tables}, file=folder / "fleet.toml")


def lora(name: str, data: bytes, url: str) -> dict[str, Any]:
    """A manifest's entry."""
    return {"name": name, "kind": "lora", "source": url, "sha256": digest(data)}


def sdfleet(verb: str, file: Path, *more: str) -> "subprocess.Popen[str]":
    """Start the command line."""
    role = () if verb.startswith("models ") else ("--role", "models")
    command = [sys.executable, str(TREE / "sdfleet.py"), *verb.split(), "--fleet", str(file), *role, *more]
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def run(verb: str, file: Path, *more: str) -> tuple[int, str]:
    """Run it to its end: exit status and everything it said, its line breaks undone."""
    process = sdfleet(verb, file, *more)
    said, _ = process.communicate(timeout=120)
    return process.returncode, said


def on(lab: Lab, host: str, path: object) -> bytes:
    """A file of a host, links followed inside the host."""
    target = lab.ssh(host, f"readlink -f '{path}'").stdout.strip()
    return (lab.root(host) / target.lstrip("/")).read_bytes()


def clean(lab: Lab) -> None:
    """Take away what an earlier test put there."""
    for host in lab.hosts:
        lab.ssh(host.name, f"rm -rf {PATHS.store} {PATHS.data('webui')}/models")


def names(lab: Lab, host: str) -> list[str]:
    """Everything of the models role on a host that has a final name."""
    return lab.ssh(host, f"find {PATHS.store}/sha256 {LORAS} ! -type d 2>/dev/null").stdout.split()


def wait_for_bytes(lab: Lab, host: str, count: int) -> int:
    """Wait until the host has that much of an unfinished file; how much it is then."""
    for _ in range(600):
        found = lab.ssh(host, f"cat {PATHS.store}/partial/* 2>/dev/null | wc -c").stdout.strip()
        if int(found or 0) >= count:
            return int(found)
        time.sleep(0.1)
    raise AssertionError(f"{host} fetches nothing")


def kill_tree(pid: int) -> None:
    """kill -9 for a process and its children."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        kill_tree(int(child))
    os.kill(pid, signal.SIGKILL)
