"""Empty Python environments outside the checkout, and what is installed into them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import uv
from hatchling.builders.wheel import WheelBuilder

TREE = Path(__file__).resolve().parents[2]
PYTHONS = ("3.11", "3.12", "3.13")
CPU_TORCH = "https://download.pytorch.org/whl/cpu"
SECONDS = 900
"""Longest time for one command."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment."""

    folder: Path

    @property
    def bin(self) -> Path:
        """Folder of its programs."""
        return self.folder / "bin"

    def install(self, arguments: Sequence[str], lowest: bool = False) -> None:
        """`uv pip install` into it, with the oldest versions that `arguments` allow if `lowest`; cached files first."""
        command = [uv.find_uv_bin(), "pip", "install", "--quiet", f"--python={self.bin / 'python'}"]
        command += [f"--find-links={place}" for place in os.environ.get("PIP_FIND_LINKS", "").split()]
        command += ["--resolution=lowest-direct"] if lowest else []
        done = _run([*command, "--offline", *arguments])
        if done.returncode:
            done = _run([*command, *arguments])
        assert done.returncode == 0, done.stderr

    def run(self, command: Sequence[str | Path], cwd: Path | str = "/") -> "subprocess.CompletedProcess[str]":
        """Run a command with the environment's programs first, its output captured."""
        return subprocess.run(
            command, cwd=cwd, env=self.variables(), capture_output=True, text=True, check=False, timeout=SECONDS
        )

    def variables(self) -> dict[str, str]:
        """The environment variables of somebody who has activated it, and who has no checkout."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        return {**kept, "PATH": f"{self.bin}:{_system_path()}", "COLUMNS": "200", "NO_COLOR": "1"}


def make(folder: Path, python: str = sys.executable) -> Environment:
    """A new environment without any package, of the interpreter at `python`."""
    done = _run([uv.find_uv_bin(), "venv", "--quiet", "--clear", f"--python={python}", str(folder)])
    assert done.returncode == 0, done.stderr
    return Environment(folder)


def find_python(version: str) -> str | None:
    """The interpreter of this machine that has `version`, like 3.13, and can make environments; None without one."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    done = _run([uv.find_uv_bin(), "python", "find", "--no-python-downloads", version])
    if not done.returncode:
        return done.stdout.strip()
    # uv sees pyenv's shims, which answer only for the versions that are switched on.
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return next((str(python) for python in sorted(root.glob(f"versions/{version}.*/bin/python"))), None)


def build_wheel(folder: Path) -> Path:
    """The wheel of the checkout."""
    return Path(next(iter(WheelBuilder(str(TREE)).build(directory=str(folder), versions=["standard"]))))


def with_extras(wheel: Path, extras: Iterable[str]) -> str:
    """The requirement that installs `wheel` with some extras."""
    names = ",".join(extras)
    return f"sdfleet[{names}] @ {wheel.as_uri()}" if names else str(wheel)


def cpu_torch() -> list[str]:
    """Requirements and options that keep torch to the build for CPUs that this environment has."""
    pinned = [f"torch=={metadata.version('torch')}"]
    local = os.environ.get("PIP_FIND_LINKS")
    return pinned if local else [*pinned, f"--index={CPU_TORCH}", "--index-strategy=unsafe-best-match"]


def _system_path() -> str:
    """The search path without this test's own environment."""
    own = str(Path(sys.executable).parent)
    return os.pathsep.join(place for place in os.environ.get("PATH", os.defpath).split(os.pathsep) if place != own)


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    # uv takes an active environment, or one beside the working directory, for what is meant.
    variables = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return subprocess.run(command, cwd="/", env=variables, capture_output=True, text=True, check=False, timeout=SECONDS)


def copy_of_checkout(folder: Path) -> Path:
    """What git would give somebody who clones the checkout as it stands, uncommitted changes included."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=TREE,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (TREE / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TREE / name, folder / name)
    return folder
