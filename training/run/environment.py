"""Code, packages, GPU, driver and CPU of a run: everything that can affect the bits of the result."""

import hashlib
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from training.archive import CODE, archive


def code_version() -> dict[str, str]:
    """The training code's hash, release and environment."""
    return {
        "sha256": hashlib.sha256(archive()).hexdigest(),
        # On a host of a fleet: releases/KEY/lib/training and envs/KEY.
        "release": CODE.parents[1].name if CODE.parent.name == "lib" else "",
        "environment": Path(sys.prefix).name,
        "python": platform.python_version(),
    }


def package_versions() -> dict[str, str]:
    """Version of every installed distribution, by normalised name."""
    found = {str(one.metadata["Name"]).lower().replace("_", "-"): one.version for one in metadata.distributions()}
    return dict(sorted(found.items()))


def machine_facts() -> dict[str, Any]:
    """The machine as torch sees it."""
    import torch

    gpus = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            seen = torch.cuda.get_device_properties(index)
            gpus.append({"name": seen.name, "memory_mb": seen.total_memory >> 20})
    return {
        "host": platform.node(),
        "system": f"{_distribution()}, Linux {platform.release()}",
        "cpu": _cpu(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        "gpus": gpus,
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "variables": {name: os.environ[name] for name in sorted(os.environ) if name.startswith(_DECISIVE)},
    }


_DECISIVE = ("CUDA_VISIBLE_DEVICES", "CUBLAS_", "OMP_", "MKL_", "NVIDIA_TF32_OVERRIDE", "PYTORCH_", "TORCH_")
"""Prefixes of environment variables that can affect results."""


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return platform.system()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.machine()


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.strip().splitlines()
    return lines[0] if lines else None
