"""The unit in which pickles are converted, on a real host: what code in it can do."""

import base64
import shlex
import subprocess
from pathlib import PurePosixPath

import pytest

from deploy.conversion import command
from lab import Lab
from roles.managers import SYSTEMD
from roles.paths import ETC, Paths
from roles.programs import zipped

pytestmark = pytest.mark.lab

PATHS = Paths()
PICKLE, OTHER = PATHS.blob("ab" * 32), PATHS.blob("cd" * 32)
MADE = PATHS.store / "partial/convert-test"
TRIES = f"""
import os, socket, sys
def told(name, attempt):
    try:
        attempt()
        print(name, "done")
    except OSError:
        print(name, "refused")
told("own file", lambda: open(sys.argv[1]).read())
told("another model", lambda: open("{OTHER}").read())
told("secrets", lambda: os.listdir("{ETC}"))
told("root's home", lambda: os.listdir("/root"))
told("write a model", lambda: open("{MADE}", "w"))
told("write elsewhere", lambda: open("/var/spool/x", "w"))
told("network", lambda: socket.create_connection(("10.77.0.1", 3142), 2))
told("become root", lambda: os.setuid(0))
"""


def run(lab: Lab, code: str, largest: int = 10_000) -> "subprocess.CompletedProcess[str]":
    """Run code where the converter runs."""
    words = command(SYSTEMD, PATHS, PurePosixPath("/usr/bin/python3"), PICKLE, largest, MADE)
    sent = base64.b64encode(zipped({"__main__.py": code})).decode()
    return subprocess.run(
        lab.ssh_command("h1", shlex.join(words)), input=sent, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(autouse=True)
def files(lab: Lab) -> None:
    """A store with two files."""
    folders = f"{PICKLE.parent} {OTHER.parent} {MADE.parent} {PATHS.envs} {ETC}"
    done = lab.ssh("h1", f"mkdir -p {folders}; chmod 700 {ETC}; echo a > {PICKLE}; echo b > {OTHER}; rm -f {MADE}")
    assert done.returncode == 0, done.stderr


def test_code_in_the_converters_unit_reads_its_file_and_nothing_else(lab: Lab) -> None:
    done = run(lab, TRIES)
    assert done.returncode == 0, done.stderr
    lines = lab.ssh("h1", f"cat {MADE}").stdout.splitlines()
    assert lines[0] == "own file done"
    assert len(lines) == 8
    assert [line for line in lines[1:] if not line.endswith("refused")] == []


def test_a_flood_is_cut_off_and_counts_as_failed(lab: Lab) -> None:
    done = run(lab, "import sys\nwhile True: sys.stdout.write('x' * 100000)\n", largest=1_000_000)
    assert done.returncode != 0
    assert lab.ssh("h1", f"stat -c %s {MADE}").stdout.strip() == "1000000"


def test_its_last_words_are_passed_on(lab: Lab) -> None:
    done = run(lab, "import sys\nsys.exit('it holds no tensors by name')\n")
    assert done.returncode == 1
    assert "it holds no tensors by name" in done.stderr
