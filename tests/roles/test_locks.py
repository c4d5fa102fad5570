"""Shipped locks: each requirement is one exact version with hashes, from nowhere but the package index."""

import re
from pathlib import Path

import pytest

ROLES = Path(__file__).resolve().parents[2] / "roles"
LOCKS = sorted([*ROLES.glob("*/locks/*.txt"), *ROLES.glob("base/uv/*.txt")])


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_requirement_is_pinned_and_hashed(lock: Path) -> None:
    text = "\n".join(line for line in lock.read_text().splitlines() if not line.lstrip().startswith("#"))
    requirements = re.split(r"\n(?=\S)", text.strip())
    assert requirements
    for requirement in requirements:
        assert re.match(r"[A-Za-z0-9._\[\]-]+==[^\s;]+", requirement), requirement
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement), requirement
