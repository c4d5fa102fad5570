"""Settings of the GPU role."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from roles.settings import Settings
from training.bounds import LONGEST_WAIT

Build = Literal["cu118", "cu121", "cu126", "cu128", "cu130", "cpu"]

DRIVER = re.compile(r"auto|keep|\d{3}|\d{3}\.\d+(\.\d+)?")


def _is_driver(value: str) -> str:
    if not DRIVER.fullmatch(value):
        allowed = '"auto", "keep", a branch ("580") or a version ("580.95.05")'
        raise ValueError(f"{value!r} is no driver; allowed are {allowed}")
    return value


Driver = Annotated[str, AfterValidator(_is_driver)]


class Gpu(Settings):
    """The NVIDIA driver of a host, and its torch builds."""

    driver: Driver = Field(
        default="auto",
        description='"auto" keeps a driver that is good enough and installs one where none is; '
        '"keep" never touches it; a branch ("580") or an exact version ("580.95.05") is installed, '
        "also over another one.",
    )
    reboot: bool = Field(
        default=False,
        description="Whether apply may reboot the host when a driver needs it; otherwise it says so and stops there.",
    )
    modules: Literal["auto", "open", "proprietary"] = Field(
        default="auto",
        description="Kernel modules: auto takes the open ones from Turing on, the proprietary ones before.",
    )
    webui_torch: Build | Literal["auto"] = Field(
        default="auto", description="CUDA build of torch for the WebUI; auto chooses by card and driver."
    )
    trainer_torch: Build | Literal["auto"] = Field(
        default="auto", description="CUDA build of torch for training; auto chooses by card and driver."
    )
    repository: str = Field(
        default="https://developer.download.nvidia.com/compute/cuda/repos",
        pattern=r"^https?://[A-Za-z0-9.:/_~-]+[A-Za-z0-9]$",
        description="Root of NVIDIA's apt repositories, or a mirror of it; its signature decides, not its address.",
    )
    fingerprint: str | None = Field(
        default=None,
        pattern=r"^[0-9A-F]{40}$",
        description="Fingerprint of the key that signs the repository; unset means NVIDIA's own.",
    )
    hold: bool = Field(
        default=True,
        description="Hold the driver's packages and keep unattended-upgrades off them, so that no update breaks it.",
    )
    reboot_timeout: int = Field(default=900, ge=60, le=LONGEST_WAIT, description="How long a reboot may take, in s.")
