"""`lora-train run` in environments that are not ours: other releases of the libraries, more packages, fewer."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
import tomlkit

from tests.training.workbench import Workbench

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RUN = ("-c", "from training.cli import run; run()", "run")
OPTIONAL = ("sklearn", "scipy", "xformers", "bitsandbytes", "onnxruntime")
"""Packages that diffusers, PEFT or transformers import where they are installed."""
NEEDED = ("diffusers", "peft", "accelerate", "safetensors", "pillow", "numpy", "pydantic", "tomlkit", "typer", "jinja2")


@dataclass(frozen=True)
class Environment:
    """What is installed beside torch; the newest of what has no version."""

    python: str
    packages: tuple[str, ...]
    without_dependencies: tuple[str, ...]
    """Packages that ask for a CUDA build of torch, or for another one."""
    optional: frozenset[str]
    """Which of OPTIONAL are then there."""


ENVIRONMENTS = {
    "oldest transformers, nothing else": Environment("3.11", ("transformers==4.56.*",), (), frozenset()),
    "transformers 5.17, everything else": Environment(
        "3.11",
        ("transformers==5.17.*", "scikit-learn", "scipy", "onnxruntime"),
        ("bitsandbytes", "xformers"),
        frozenset(OPTIONAL),
    ),
    "newest transformers on Python 3.13": Environment(
        "3.13", ("transformers", "scikit-learn", "scipy", "onnxruntime"), (), frozenset(OPTIONAL[:2] + OPTIONAL[4:])
    ),
}


def uv(*arguments: str) -> None:
    """Run uv; a test whose packages can't be had here is left out, and says what was missing."""
    done = subprocess.run([str(Path(sys.executable).with_name("uv")), *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"uv {' '.join(arguments)}: {done.stderr.strip()[-300:]}")


def build(wanted: Environment, folder: Path) -> Path:
    """Make the environment, from uv's cache where it has been made before; returns its Python."""
    uv("venv", "-q", "--python", wanted.python, str(folder))
    python = folder / "bin" / "python"
    # A CPU build of our own torch: a folder of wheels holds it, or else PyTorch's index.
    wheels = os.environ.get("PIP_FIND_LINKS")
    source = ("--find-links", wheels) if wheels else ("--extra-index-url", "https://download.pytorch.org/whl/cpu")
    install = ("pip", "install", "-q", "--python", str(python), *source)
    uv(*install, "--no-deps", f"torch=={version('torch')}")
    uv(*install, f"torch=={version('torch')}", *NEEDED, *wanted.packages)
    if wanted.without_dependencies:
        uv(*install, "--no-deps", *wanted.without_dependencies)
    return python


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_two_steps_in_a_foreign_environment(name: str, bench: Workbench) -> None:
    wanted = ENVIRONMENTS[name]
    python = build(wanted, bench.folder / "environment")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "HOME": os.environ["HOME"],
    }

    program = f"from importlib.util import find_spec; print([name for name in {OPTIONAL} if find_spec(name)])"
    there = subprocess.run([python, "-c", program], env=environment, capture_output=True, text=True, check=True).stdout
    assert there.strip() == str([name for name in OPTIONAL if name in wanted.optional])

    tables = {"network": {"text_encoder": True}, "train": {"steps": 2}, "sample": {"prompts": ["a cat --s 2"]}}
    config = bench.folder / "config.toml"
    config.write_text(tomlkit.dumps(bench.raw(tables=tables)))
    command = [str(python), *RUN, str(config), "--run", str(bench.folder / "run")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    record = json.loads((bench.folder / "run" / "run.json").read_text())
    print(name, {name: record["packages"][name] for name in ("transformers", "diffusers", "peft", "torch")})
    assert record["code"]["python"].startswith(wanted.python)
    assert (record["steps"], len(record["losses"])) == (2, 2)


def test_an_environment_whose_packages_do_not_fit_is_named(bench: Workbench) -> None:
    broken = bench.folder / "site"
    (broken / "peft").mkdir(parents=True)
    (broken / "peft" / "__init__.py").write_text("raise RuntimeError('built for another CUDA')\n")
    config = bench.folder / "config.toml"
    config.write_text(tomlkit.dumps(bench.raw()))
    command = [sys.executable, *RUN, str(config), "--run", str(bench.folder / "run")]
    paths = os.pathsep.join([str(broken), str(ROOT)])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: torch, diffusers, PEFT and transformers of ")
    assert "built for another CUDA" in done.stderr and "Traceback" not in done.stderr
    assert find_spec("peft") is not None
