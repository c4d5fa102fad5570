"""What the launcher checks before it starts: packages, and the repositories beside the code at their commits."""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from .options import CODE

REPOSITORIES = (
    ("stable-diffusion-webui-assets", "ASSETS"),
    ("stable-diffusion-stability-ai", "STABLE_DIFFUSION"),
    ("generative-models", "STABLE_DIFFUSION_XL"),
    ("k-diffusion", "K_DIFFUSION"),
    ("BLIP", "BLIP"),
)
"""Folder below repositories/, and the prefix of its two variables, PREFIX_REPO and PREFIX_COMMIT_HASH."""


def prepare_environment(options: argparse.Namespace) -> None:
    """Install and clone what is missing, with the commands that the installer's variables name.

    Raises RuntimeError when a command fails.
    """
    defaults: dict[str, str] = json.loads((CODE / "launch_defaults.json").read_text())

    def setting(name: str) -> str:
        return os.environ.get(name, defaults.get(name, ""))

    print(f"Python {sys.version}")
    if importlib.util.find_spec("torch") is None:
        _run(f"{sys.executable} -m {setting('TORCH_COMMAND')}".split())
    if not options.skip_torch_cuda_test:
        check = "import torch; assert torch.cuda.is_available()"
        if subprocess.run([sys.executable, "-c", check], stderr=subprocess.DEVNULL, check=False).returncode:
            raise RuntimeError(
                "Torch is not able to use GPU; add --skip-torch-cuda-test to COMMANDLINE_ARGS to disable this check"
            )
    if importlib.util.find_spec("clip") is None:
        _pip("install", setting("CLIP_PACKAGE"))
    for folder, prefix in REPOSITORIES:
        _checkout(CODE / "repositories" / folder, setting(f"{prefix}_REPO"), setting(f"{prefix}_COMMIT_HASH"))
    requirements = CODE / (os.environ.get("REQS_FILE") or "requirements_versions.txt")
    if not _met(requirements):
        _pip("install", "-r", str(requirements))


def _checkout(folder: Path, url: str, commit: str) -> None:
    if not folder.exists():
        print(f"Cloning {folder.name} into {folder}...")
        _run(["git", "clone", "--config", "core.filemode=false", url, str(folder)])
    elif _run(["git", "-C", str(folder), "rev-parse", "HEAD"]).strip() == commit:
        return
    else:
        print(f"Fetching updates for {folder.name}...")
        _run(["git", "-C", str(folder), "remote", "set-url", "origin", url])
        _run(["git", "-C", str(folder), "fetch"])
    _run(["git", "-C", str(folder), "checkout", "--quiet", commit])


def _met(requirements: Path) -> bool:
    """Whether every `name==version` line is installed (a local version such as +cpu counts as equal)."""
    for line in requirements.read_text().splitlines():
        if not (match := re.fullmatch(r"\s*([A-Za-z0-9_.-]+)==(\S+)\s*", line)):
            continue
        try:
            installed = importlib.metadata.version(match[1])
        except importlib.metadata.PackageNotFoundError:
            return False
        if installed.partition("+")[0] != match[2]:
            return False
    return True


def _pip(*arguments: str) -> None:
    _run([sys.executable, "-m", "pip", *arguments, "--prefer-binary"])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with exit code {done.returncode}:\n{done.stderr}")
    return done.stdout
