"""Fixtures of the whole suite."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import lab as lab_package

# A shell that starts make in the background has Ctrl-C ignored, and so would have every program that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _prefer_python_to_its_shim() -> None:
    """Put the Python that a `python3` of pyenv or asdf starts before it on PATH.

    Hundreds of tests run programs with `python3`, as hosts do; such a script runs 40 processes before Python starts.
    """
    shim = Path(shutil.which("python3") or "/usr/bin/python3")
    if shim.is_file() and shim.read_bytes().startswith(b"#!"):
        ask = [str(shim), "-c", "import os, sys; print(os.path.realpath(sys.executable))"]
        python = Path(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip())
        folders = os.environ["PATH"].split(os.pathsep)
        folders.insert(folders.index(str(shim.parent)), str(python.parent))
        os.environ["PATH"] = os.pathsep.join(folders)


_prefer_python_to_its_shim()

MARKS = ("lab", "slow", "gpu")

LONGEST = (
    "e2e/test_runs.py",
    "faults/test_campaign.py",
    "install/test_readme_commands.py",
    "e2e/test_container_roles.py",
    "e2e/test_container_runs.py",
    "e2e/test_confirm.py",
    "e2e/test_rollout.py",
    "e2e/test_first_update.py",
    "e2e/test_meter.py",
    "e2e/test_trainer_update.py",
    "e2e/test_planted_secrets.py",
    "e2e/test_broken_world.py",
    "roles/test_service_users.py",
    "roles/test_trainer.py",
    "e2e/test_webui_releases.py",
    "roles/comfyui/test_comfyui_on_hosts.py",
    "e2e/test_proxy.py",
    "training/test_gpu_benchmark.py",
    "install/test_trainer.py",
    "training/test_learning.py",
)
"""Files that take minutes. They begin first, so that no worker is left with one of them at the end.

The first three start from different hosts: while one worker provisions those that the others keep, they need not wait.
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[lab_package.Lab]:
    """Two fresh hosts, h1 and h2, for all tests of one file that are marked `lab`."""
    with lab_package.attached(hosts=2) as running:
        yield running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the longest files to the front."""
    rank = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files without a test that is wanted before they import torch, which takes seconds a worker."""
    if collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    text, wanted = collection_path.read_text(), config.option.markexpr
    if wanted in MARKS:  # -m lab, and nothing else
        return True if f"mark.{wanted}" not in text else None
    unwanted = [mark for mark in MARKS if f"not {mark}" in wanted]
    return True if any(f"\npytestmark = pytest.mark.{mark}\n" in text for mark in unwanted) else None
