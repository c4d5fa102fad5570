"""The road, pinned: what the lock promises a second host, and a pickle that becomes a safetensors file."""

import base64
import hashlib
from pathlib import Path

import pytest

from tests.road.conftest import Road

pytestmark = pytest.mark.lab

BUILT = "cd /srv/sdfleet && find apps envs store/sha256 hub -name '*.pyc' -prune -o -name __pycache__ -prune -o"
LISTED = f"{BUILT} -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum"
LINKED = f"{BUILT} -type l -printf '%p -> %l\\n' | LC_ALL=C sort"

UV_NOTE = "/uv_cache.json"
TOLD_BY_TIME = ("/built.json", "/history.json")
"""Who built a release and when, and what has served: a host's own story."""


def files(road: Road, host: str) -> list[str]:
    """sha256 and name of every file that a release, an environment or the store consists of, and every link.

    Left out: git's notes of its checkout, and uv's of when it built a package from git, which that RECORD lists.
    """
    lines = [*road.on(host, LISTED).splitlines(), *road.on(host, LINKED).splitlines()]
    built = tuple(line.partition("  ")[2].removesuffix(UV_NOTE) for line in lines if line.endswith(UV_NOTE))
    notes = {folder + name for folder in built for name in (UV_NOTE, "/RECORD")}
    own = [line for line in lines if "/.git/" not in line and not line.endswith(TOLD_BY_TIME)]
    return [line for line in own if line.partition("  ")[2] not in notes]


def test_two_hosts_from_one_lock_are_the_same_file_by_file(road: Road) -> None:
    first, second = files(road, "h1"), files(road, "h2")
    print(f"{len(first)} files and links compared")
    assert len(first) > 1000
    assert set(first) ^ set(second) == set()


def test_a_pickle_becomes_safetensors_in_a_unit_that_can_do_nothing(road: Road, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"state_dict": {"weight": torch.arange(4.0)}, "epoch": 3}, tmp_path / "old.ckpt")
    sha256 = hashlib.sha256((tmp_path / "old.ckpt").read_bytes()).hexdigest()
    before, lock = road.file.read_text(), road.file.with_suffix(".lock")
    pinned = lock.read_text()
    table = (
        f'\n[[models]]\nname = "old"\nkind = "checkpoint"\nsource = "file:{tmp_path}/old.ckpt"\nallow_pickle = true\n'
    )
    try:
        road.file.write_text(f'{before}{table}sha256 = "{sha256}"\n')
        done = road.sdfleet("apply", "--limit", "h1", "--role", "models")
        assert done.code == 0, done.text
        done = road.sdfleet("models", "convert", "old", "--host", "h1")
        assert done.code == 0, done.text
        assert 'source = "host:h1/converted/old.safetensors"' in done.text
        made = road.on("h1", "base64 -w0 /srv/sdfleet/converted/old.safetensors")
        safetensors = pytest.importorskip("safetensors.torch")
        assert safetensors.load(base64.b64decode(made))["weight"].tolist() == [0.0, 1.0, 2.0, 3.0]
    finally:
        road.file.write_text(before)
        lock.write_text(pinned)
        road.sdfleet("apply", "--limit", "h1", "--role", "models")
