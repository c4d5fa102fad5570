"""The program that reads GPUs and driver on a host, and the parser of its output."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from roles.facts.gpu_state import HostGpus, PciDevice, SmiGpu

PROBE = (Path(__file__).resolve().parent / "gpu_probe.sh").read_text()
DRIVER_PACKAGES = (
    "(nvidia-(driver|kernel|dkms|utils|smi|persistenced|compute|fabricmanager|headless|open)"
    "|libnvidia-([^c]|c[^o]|co[^n])|libcuda1|cuda-drivers|nvlsm)"
)
"""Beginnings of the names of the driver's packages, without libnvidia-container.

The program has the same expression."""

FLAGS = frozenset(
    {"headers", "secure_boot", "mok_enrolled", "nouveau", "dpkg_interrupted", "fabric_manager", "persistence"}
)
KB_PER_GB = 1e6


def probe_command() -> str:
    """The shell command to run on a host; it needs only a POSIX shell and dpkg."""
    return f"sh -c {shlex.quote(PROBE)}"


def parse_probe(lines: Iterable[str]) -> HostGpus:
    """Parse the program's output."""
    values: dict[str, Any] = {"headers": False}
    devices: list[PciDevice] = []
    answers: list[SmiGpu] = []
    packages: dict[str, str] = {}
    lists: dict[str, list[str]] = {"held": [], "kernel_image": []}
    for line in lines:
        key, _, value = line.rstrip("\n").partition("\t")
        if key == "device":
            slot, vendor, device, kind = value.split()
            devices.append(PciDevice(slot=slot, vendor=int(vendor, 0), device=int(device, 0), kind=int(kind, 0)))
        elif key == "smi_gpu":
            compute, _, name = value.partition("/") if not value.startswith("[N/A]") else ("", "", value[6:])
            answers.append(SmiGpu(name=name, compute=_compute(compute)))
        elif key == "package":
            name, version = value.split()
            packages[name] = version
        elif key in lists:
            lists[key].append(value)
        elif key in FLAGS:
            values[key] = True
        elif key in ("free_kb", "ram_kb"):
            values[key.replace("_kb", "_gb")] = int(value) * 1.024 / KB_PER_GB
        elif key and value:
            values[key] = value
    return HostGpus.model_validate(
        {
            **values,
            "devices": tuple(devices),
            "smi_gpus": tuple(answers),
            "packages": packages,
            "held": tuple(lists["held"]),
            "kernel_images": tuple(lists["kernel_image"]),
        }
    )


def _compute(text: str) -> tuple[int, int] | None:
    major, _, minor = text.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
