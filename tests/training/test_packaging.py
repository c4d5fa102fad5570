"""The trainer's folder alone builds into a wheel that works without the rest."""

import inspect
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from training.loop import samples

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def test_the_folder_alone_builds_a_wheel_that_runs_elsewhere(tmp_path: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    source = shutil.copytree(ROOT / "training", tmp_path / "training", ignore=ignore)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")],
        cwd=source,
        check=True,
    )
    (wheel,) = (tmp_path / "dist").glob("sdfleet_training-*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    packed = {str(path.relative_to(site)) for path in (site / "training").rglob("*.py")}
    assert packed == {str(path.relative_to(ROOT)) for path in (ROOT / "training").rglob("*.py")}
    done = subprocess.run(
        [sys.executable, "-c", "from training.cli import run; run()", "--help"],
        cwd=tmp_path / "dist",
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "check" in done.stdout


def test_both_dependency_lists_are_one() -> None:
    fleet = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    trainer = tomllib.loads((ROOT / "training" / "pyproject.toml").read_text())["project"]
    assert fleet["optional-dependencies"]["train"] == trainer["dependencies"]
    assert fleet["version"] == trainer["version"]


def test_what_the_lms_sampler_imports_is_declared() -> None:
    """diffusers leaves SciPy to its users, and imports it without asking."""
    trainer = tomllib.loads((ROOT / "training" / "pyproject.toml").read_text())["project"]
    source = Path(inspect.getfile(type(samples.make_sampler("lms", False)))).read_text()
    assert "scipy" in source
    assert any(requirement.startswith("scipy") for requirement in trainer["dependencies"])
