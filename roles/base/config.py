"""Settings of the base role."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from roles.settings import Settings

UV_LOCKS = Path(__file__).resolve().parent / "uv"
"""One file per uv release with the hashes of its wheels."""


def _has_hashes(version: str) -> str:
    known = sorted(path.stem for path in UV_LOCKS.glob("*.txt"))
    if version not in known:
        raise ValueError(f"the hashes of uv {version} are not known; known are {', '.join(known)}")
    return version


def _is_package(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?", name):
        raise ValueError(f"{name!r} is no name of a distribution package")
    return name


class Base(Settings):
    """What every host needs first."""

    packages: tuple[Annotated[str, AfterValidator(_is_package)], ...] = Field(
        default=(
            "ca-certificates",
            "curl",
            "git",
            "libgl1",
            "libglib2.0-0",
            "libgoogle-perftools4",
            "python3",
            "python3-venv",
        ),
        description="Distribution packages to install.",
    )
    uv_version: Annotated[str, AfterValidator(_has_hashes)] = Field(
        default="0.13.9",
        description="The uv release that builds environments; pinned, so that two hosts resolve alike.",
    )
    min_free_gb: float = Field(
        default=12,
        ge=0,
        description="Free space the data root's file system must have before the first release is built, in GB.",
    )
