"""The same plan from an editable install, and from an installed wheel in a foreign folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import PROGRAM, TREE, Road

pytestmark = pytest.mark.lab


def _plan(command: list[str], cwd: Path, path: Path | None, road: Road) -> str:
    environment = {**os.environ, "SDFLEET_FILE": str(road.file), "COLUMNS": "200"}
    environment.pop("PYTHONPATH", None)
    if path:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_an_editable_install(road: Road, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("sdfleet")
    if not program.exists():
        pytest.fail(f"no {program}: install the checkout with `pip install -e .`, as make does")
    assert "Planned 2 host(s)" in _plan([str(program), "plan"], tmp_path, None, road)


def test_a_wheel_in_a_foreign_folder(road: Road, tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    [wheel] = WheelBuilder(str(TREE)).build(directory=str(tmp_path), versions=["standard"])
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(site), wheel]
    subprocess.run(install, check=True)
    command = [sys.executable, "-P", "-c", PROGRAM, "plan"]
    assert "Planned 2 host(s)" in _plan(command, tmp_path, site, road)
