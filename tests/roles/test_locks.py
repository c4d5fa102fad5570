"""Shipped locks: each requirement is one exact version with hashes, from nowhere but the package index."""

import re
from pathlib import Path

import pytest

from roles.operations.application import BUILD_TOOLS

ROLES = Path(__file__).resolve().parents[2] / "roles"
WITH_GRADIO = sorted([*ROLES.glob("webui/locks/*.txt"), *ROLES.glob("lora_scripts/locks/*.txt")])
WITH_GRADIO_3 = [lock for lock in WITH_GRADIO if not lock.name.startswith("forge-neo-")]
LOCKS = sorted([*ROLES.glob("*/locks/*.txt"), *ROLES.glob("base/uv/*.txt"), BUILD_TOOLS])


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_requirement_is_pinned_and_hashed(lock: Path) -> None:
    text = "\n".join(line for line in lock.read_text().splitlines() if not line.lstrip().startswith("#"))
    requirements = re.split(r"\n(?=\S)", text.strip())
    assert requirements
    for requirement in requirements:
        assert re.match(r"[A-Za-z0-9._\[\]-]+==[^\s;]+", requirement), requirement
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement), requirement


def pinned(lock: Path, name: str) -> str:
    """The version of a package in a lock; empty if it is not in it."""
    found = re.search(rf"^{name}==([^\s;]+)", lock.read_text(), re.MULTILINE)
    return found[1] if found else ""


@pytest.mark.parametrize("lock", WITH_GRADIO_3, ids=lambda path: path.name)
def test_gradio_3_gets_an_httpx_that_it_can_use(lock: Path) -> None:
    assert pinned(lock, "gradio").startswith("3.")
    assert pinned(lock, "httpx") == "0.24.1"


@pytest.mark.parametrize("lock", WITH_GRADIO, ids=lambda path: path.name)
def test_old_setup_files_find_pkg_resources(lock: Path) -> None:
    assert int(pinned(lock, "setuptools").split(".")[0]) < 81
    assert int(pinned(BUILD_TOOLS, "setuptools").split(".")[0]) < 81, "the same holds for what builds packages"
