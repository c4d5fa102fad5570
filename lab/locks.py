"""Hashed requirements locks for the lab's hosts, compiled against the lab's own package index."""

import hashlib
import os
import platform
import re
import subprocess
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import uv

from inventory.errors import SdfleetError
from lab.handle import Lab
from lab.pipconfig import PipConfig
from lab.state import cache_folder

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
PYTHON = "3.11"
GLIBC = "2_36"
"""bookworm's glibc, which determines the wheels that its hosts can use."""


def train_requirements() -> str:
    """Requirements of the training environment: the extra `train` of this project, one per line."""
    if PROJECT.is_file():
        wanted: list[str] = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]["train"]
    else:
        extra = re.compile(r"""(.*?)\s*;\s*extra == ['"]train['"]""")
        wanted = [match[1] for text in metadata.requires("sdfleet") or () if (match := extra.fullmatch(text))]
    return "".join(f"{line}\n" for line in wanted)


def offered() -> tuple[str, ...]:
    """This machine's package sources, and local wheels by name."""
    return _offered(PipConfig.of_this_machine())


def lock(lab: Lab, requirements: str) -> Path:
    """File with exact versions and hashes for `requirements` (text of a requirements file).

    Honours the constraints of this machine's pip. Compiled once for the same input. Raises SdfleetError with uv's
    output if uv fails.
    """
    config = PipConfig.of_this_machine()
    limits = [Path(place).read_text() if Path(place).is_file() else place for place in config.constraints]
    question = repr((requirements, limits, PYTHON, GLIBC, platform.machine(), _offered(config)))
    final = cache_folder() / "locks" / f"{hashlib.sha256(question.encode()).hexdigest()[:16]}.txt"
    if not final.exists():
        final.parent.mkdir(parents=True, exist_ok=True)
        _compile(lab.index_url, requirements, config.constraints, final)
    return final


def _offered(config: PipConfig) -> tuple[str, ...]:
    """The package sources, and local wheels by name: a new torch wheel must lead to a new lock."""
    folders = (Path(place) for place in config.find_links)
    wheels = (file.name for folder in folders if folder.is_dir() for file in sorted(folder.iterdir()))
    return (config.index_url, *config.extra_index_urls, *config.find_links, *wheels)


def _compile(index_url: str, requirements: str, constraints: Iterable[str], final: Path) -> None:
    wanted, part = final.with_suffix(".in"), final.with_suffix(".part")
    wanted.write_text(requirements)
    command = [uv.find_uv_bin(), "pip", "compile", "--quiet", "--no-config", "--no-cache", "--generate-hashes"]
    command += ["--no-header", "--no-annotate", f"--python-version={PYTHON}", f"--default-index={index_url}"]
    command += [f"--python-platform={platform.machine()}-manylinux_{GLIBC}"]
    command += [f"--constraint={place}" for place in constraints]
    command += [f"--output-file={part}", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_clean_environment())
    if done.returncode:
        part.unlink(missing_ok=True)
        raise SdfleetError(f"uv could not lock {wanted}:\n{done.stderr.strip()}")
    part.replace(final)


def _clean_environment() -> dict[str, str]:
    """This process's environment without settings for other indexes or a proxy."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("UV_", "PIP_"))}
    return kept | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
