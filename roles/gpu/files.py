"""Paths and contents of the files that the GPU role writes."""

from pathlib import PurePosixPath
from urllib.parse import urlsplit

import templates
from roles.facts.gpu_state import HostGpus
from roles.gpu.config import Gpu
from roles.gpu.packages import ARCHITECTURES, BYSTANDERS, DRIVER_GLOBS, KEYS, repository_name

KEYRING = PurePosixPath("/etc/apt/keyrings/sdfleet-nvidia.gpg")
SOURCES = PurePosixPath("/etc/apt/sources.list.d/sdfleet-nvidia.sources")
PIN = PurePosixPath("/etc/apt/preferences.d/sdfleet-nvidia")
UNATTENDED = PurePosixPath("/etc/apt/apt.conf.d/52sdfleet-nvidia")
NOUVEAU = PurePosixPath("/etc/modprobe.d/sdfleet-nouveau.conf")


def repository_url(gpu: Gpu, facts: HostGpus) -> str:
    """NVIDIA's repository for the host's distribution and processor."""
    return f"{gpu.repository}/{repository_name(facts)}/{ARCHITECTURES[facts.arch]}"


def key(gpu: Gpu, facts: HostGpus) -> tuple[str, str]:
    """URL and fingerprint of the key that signs the repository."""
    file, fingerprint = KEYS[repository_name(facts)]
    return f"{repository_url(gpu, facts)}/{file}", gpu.fingerprint or fingerprint


def sources(gpu: Gpu, facts: HostGpus) -> str:
    return templates.render("gpu/nvidia.sources.j2", url=repository_url(gpu, facts), keyring=KEYRING)


def pin(gpu: Gpu, driver: str) -> str:
    """apt's preferences, which pin all packages of the driver to `driver` (a branch or a version)."""
    version = f"{driver}-*" if driver.count(".") else f"{driver}.*"
    origin = urlsplit(gpu.repository).hostname
    return templates.render("gpu/pin.j2", globs=DRIVER_GLOBS, bystanders=BYSTANDERS, version=version, origin=origin)


def unattended() -> str:
    """unattended-upgrades' exceptions; it matches regular expressions against the start of names."""
    expressions = [glob.replace("*", ".*") + "$" for glob in DRIVER_GLOBS]
    return templates.render("gpu/unattended.j2", expressions=expressions)


def nouveau() -> str:
    """modprobe's configuration that disables nouveau."""
    return templates.render("gpu/nouveau.conf")
