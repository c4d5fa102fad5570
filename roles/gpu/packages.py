"""The packages of NVIDIA's repository for a compute-only driver, and the repository's key."""

from roles.facts.gpu_state import HostGpus
from roles.gpu.cards import Modules

UNVERSIONED_FROM = 590
"""From this branch on, Ubuntu's packages have no branch in their names."""

OLD_KEY = "EB693B3035CD5710E231E123A4B469963BF863CC"
NEW_KEY = "02182E60104FCDC26EAE1B8597A5D4CB8793F200"

KEYS: dict[str, tuple[str, str]] = {
    "debian12": ("3bf863cc.pub", OLD_KEY),
    "debian13": ("8793F200.pub", NEW_KEY),
    "ubuntu2204": ("3bf863cc.pub", OLD_KEY),
    "ubuntu2404": ("3bf863cc.pub", OLD_KEY),
}
"""Supported repositories: file name and fingerprint of the signing key. Debian 13 refuses the old SHA-1 key."""

ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "sbsa"}

DRIVER_GLOBS = (
    "nvidia-*",
    "libnvidia-*",
    "libcuda*",
    "libnvcuvid*",
    "libxnvctrl*",
    "firmware-nvidia-*",
    "cuda-drivers*",
    "cuda-compat-*",
    "xserver-xorg-video-nvidia*",
    "libegl-nvidia*",
    "libgl*-nvidia*",
)
"""Names of all packages that must have the driver's version."""

BYSTANDERS = ("nvidia-container-toolkit*", "libnvidia-container*", "nvidia-fs*", "nvidia-gds*")
"""Packages of the same repository that these patterns match but that have their own versions."""


def repository_name(facts: HostGpus) -> str:
    """NVIDIA's name for the distribution: debian12, ubuntu2404."""
    return facts.distribution + facts.release.replace(".", "")


def branch_of(driver: str) -> int:
    """The branch of a version: 580.95.05 -> 580."""
    return int(driver.split(".")[0])


def driver_packages(distribution: str, branch: int, modules: Modules) -> tuple[str, ...]:
    """What to install for a compute-only driver, without desktop parts."""
    suffix = "-open" if modules == "open" else ""
    if distribution == "debian":
        return ("nvidia-driver-cuda", f"nvidia-kernel{suffix}-dkms", "nvidia-persistenced")
    if branch >= UNVERSIONED_FROM:
        return ("libnvidia-compute", f"nvidia-dkms{suffix}", "nvidia-persistenced")
    return (
        f"libnvidia-compute-{branch}",
        f"nvidia-dkms-{branch}{suffix}",
        f"nvidia-utils-{branch}",
        f"nvidia-compute-utils-{branch}",
    )


def kernel_headers(facts: HostGpus) -> tuple[str, ...]:
    """Headers of the running kernel, and the packages that install them with every later kernel."""
    following = (image.replace("linux-image-", "linux-headers-", 1) for image in facts.kernel_images)
    return (f"linux-headers-{facts.kernel}", *following)


def fabric_manager_package(branch: int) -> str:
    """The package of the fabric manager; its version must equal the driver's."""
    return "nvidia-fabricmanager" if branch >= UNVERSIONED_FROM else f"nvidia-fabricmanager-{branch}"
