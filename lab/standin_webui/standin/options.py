"""Command line: the subset of stable-diffusion-webui's flags that a deployment uses."""

import argparse
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

CODE = Path(__file__).resolve().parent.parent
"""The checkout that launch.py stands in."""

SWITCHES = (
    ("skip-prepare-environment", "skip all environment preparation"),
    ("skip-python-version-check", "do not check the Python version"),
    ("skip-torch-cuda-test", "do not check that CUDA works"),
    ("skip-install", "do not install packages"),
    ("exit", "end after the environment is prepared"),
    ("api", "serve the API"),
    ("nowebui", "serve the API without the page"),
    ("listen", "listen on all addresses"),
    ("no-download-sd-model", "do not download a model when there is none (the stand-in never does)"),
    ("no-half", "compute in 32 bits (the stand-in always does)"),
    ("no-half-vae", "compute the autoencoder in 32 bits"),
    ("medvram", "accepted, no effect"),
    ("lowvram", "accepted, no effect"),
    ("xformers", "accepted, no effect"),
    ("opt-sdp-attention", "accepted, no effect"),
    ("disable-safe-unpickle", "accepted, no effect"),
)


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Flags of the command line and of COMMANDLINE_ARGS; unknown ones end the process with exit code 2."""
    parser = argparse.ArgumentParser(prog="launch.py", description="Stand-in WebUI of sdfleet's lab.")
    for name, text in SWITCHES:
        parser.add_argument(f"--{name}", action="store_true", help=text)
    parser.add_argument("--port", type=int, default=7860 if "--nowebui" not in arguments else 7861)
    parser.add_argument("--server-name", default=None)
    parser.add_argument("--subpath", default="")
    parser.add_argument("--data-dir", type=Path, default=CODE)
    parser.add_argument("--models-dir", type=Path, default=None)
    parser.add_argument("--ckpt-dir", type=Path, default=None)
    parser.add_argument("--lora-dir", type=Path, default=None)
    parser.add_argument("--use-cpu", nargs="+", default=[])
    parser.add_argument("--precision", choices=("full", "half", "autocast"), default="autocast")
    options = parser.parse_args([*arguments, *shlex.split(os.environ.get("COMMANDLINE_ARGS", ""))])
    options.models_dir = options.models_dir or options.data_dir / "models"
    options.lora_dir = options.lora_dir or options.models_dir / "Lora"
    options.api |= options.nowebui
    return options
