"""The extras of this distribution: which program needs which one, and how to install it."""

import json
import shlex
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import Requirement

from inventory.errors import SdfleetError

DISTRIBUTION = "sdfleet"


@dataclass(frozen=True)
class Need:
    """An extra that a program needs."""

    extra: str
    module: str
    """The module that imports the extra's packages. Import it only after `require`."""


NEEDS = {
    "sdfleet demo": Need("lab", "deploy.demo"),
    "sdfleet lab up": Need("lab", "lab.box"),
    "sdfleet dashboard": Need("dashboard", "deploy.dashboard.command"),
    "sdfleet train reproduce": Need("train", "training.run.weight_difference"),
    "lora-train": Need("train", "training.cli"),
}
"""The programs that need an extra; all others need only [project].dependencies."""


class MissingExtra(SdfleetError):
    """The extra of a program is not installed. Exit code 2."""

    exit_code = 2


def require(program: str) -> None:
    """Raise MissingExtra if the extra of `program` (a key of NEEDS) is not installed."""
    extra = NEEDS[program].extra
    if missing(extra):
        raise MissingExtra(f"{program} needs the {extra} extra: {install_command(extra)}")


def missing(extra: str) -> list[str]:
    """The distributions of `extra` that are not installed."""
    try:
        declared = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # run from a folder on sys.path, without metadata
        return []
    wanted = [one for one in map(Requirement, declared) if one.marker and one.marker.evaluate({"extra": extra})]
    return [one.name for one in wanted if not _installed(one.name)]


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def install_command(extra: str = "") -> str:
    """The command that adds `extra` to this installation, or what is missing of sdfleet itself."""
    return f"{_installer()} {_source(extra)}"


def _installer() -> str:
    prefix = Path(sys.prefix)
    if (prefix / "pipx_metadata.json").exists():
        return "pipx install --force"
    if (prefix / "bin/pip").exists():
        return f"{shlex.quote(str(prefix / 'bin/pip'))} install"
    return f"uv pip install --python {shlex.quote(str(prefix))}"


def _source(extra: str) -> str:
    """What to install: the folder or URL of this installation (PEP 610), with the extra."""
    marked = f"[{extra}]" if extra else ""
    try:
        recorded = json.loads(metadata.distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    except metadata.PackageNotFoundError:  # run from a folder on sys.path
        recorded = {}
    url = str(recorded.get("url", ""))
    if not url:
        return shlex.quote(f"{DISTRIBUTION}{marked}")
    if "vcs_info" in recorded:
        return shlex.quote(f"{DISTRIBUTION}{marked} @ {recorded['vcs_info']['vcs']}+{url}")
    if not url.startswith("file:"):
        return shlex.quote(f"{DISTRIBUTION}{marked} @ {url}")
    editable = "-e " if recorded.get("dir_info", {}).get("editable") else ""
    return editable + shlex.quote(f"{url2pathname(urlsplit(url).path)}{marked}")
