"""The road, pinned: what the lock promises a second host, and a pickle that becomes a safetensors file."""

import base64
import hashlib
import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Road
from tests.e2e.moving import NEWER

pytestmark = pytest.mark.lab

UNITS = "/etc/systemd/system/sdfleet-* /etc/systemd/system/lora-train*"
COMPILED = "-name '*.pyc' -prune -o -name __pycache__ -prune -o -name .git -prune -o"
"""What Python compiles at some moment, and git's notes of a checkout; commits are compared by themselves."""
BUILT = f"cd /srv/sdfleet && find apps envs store/sha256 hub tools {UNITS} {COMPILED}"
LISTED = f"{BUILT} -type f -printf '%s %m %p\\n' | LC_ALL=C sort"
HASHED = f"{BUILT} -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum"
LINKED = f"{BUILT} -type l -printf '%p -> %l\\n' | LC_ALL=C sort"
COMMITS = (
    "cd /srv/sdfleet && find apps -name .git -printf '%h\\n' | LC_ALL=C sort | "
    'while read -r tree; do echo "$(git -c safe.directory=\'*\' -C "$tree" rev-parse HEAD) $tree"; done'
)

CONVERTED = "/srv/sdfleet/converted/old.safetensors"
UV_NOTE = "/uv_cache.json"
"""uv's note of when it built a package from git; RECORD beside it has that note's hash."""
TOLD_BY_TIME = ("/built.json", "/history.json", "/history.json.copy")
"""Who built a release and when, and what has served: a host's own story."""


def own_story(names: list[str]) -> set[str]:
    """Files that differ from host to host, and may."""
    noted = [name.removesuffix(UV_NOTE) for name in names if name.endswith(UV_NOTE)]
    return {folder + name for folder in noted for name in (UV_NOTE, "/RECORD")} | {
        name for name in names if name.endswith(TOLD_BY_TIME)
    }


def built(road: Road, host: str) -> dict[str, dict[str, str]]:
    """All that a host's releases, environments, store, tools and units consist of, by kind and name."""
    hashed = {name: digest for digest, _, name in (line.partition("  ") for line in road.on(host, HASHED).splitlines())}
    listed = [line.split(" ", 2) for line in road.on(host, LISTED).splitlines()]
    own = own_story(list(hashed))
    return {
        "sha256": {name: digest for name, digest in hashed.items() if name not in own},
        "size and mode": {name: f"{size} {mode}" for size, mode, name in listed if name not in own},
        "link": dict(line.split(" -> ") for line in road.on(host, LINKED).splitlines()),
        "commit": {tree: commit for commit, _, tree in (x.partition(" ") for x in road.on(host, COMMITS).splitlines())},
        "their own": dict.fromkeys(own, "there"),
    }


def test_a_host_built_later_from_the_same_lock_is_the_same_file_by_file(
    road: Road, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second host was built by an apply of its own, when every name in the lock stood for something newer."""
    first, second = built(road, "h1"), built(road, "h2")
    counts = ", ".join(f"{len(found)} x {kind}" for kind, found in first.items())
    with capsys.disabled():
        print(f"\nh1 and h2, built one after the other, compared: {counts}")
    assert len(first["sha256"]) > 1000 and len(first["commit"]) >= 6 and first["link"]
    for kind, found in first.items():
        assert found == second[kind], kind


def test_a_new_lock_would_have_built_something_else(road: Road) -> None:
    """Or the comparison above would show nothing."""
    old, new = (json.loads((road.folder / name).with_suffix(".lock").read_text()) for name in ("fleet", NEWER))
    assert old["git"].keys() == new["git"].keys() and old["git"] != new["git"]
    moved = [name for name, pin in old["models"].items() if new["models"][name] != pin]
    assert moved == ["checkpoint/tiny-sd15"]


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
        made = road.on("h1", f"base64 -w0 {CONVERTED}")
        safetensors = pytest.importorskip("safetensors.torch")
        assert safetensors.load(base64.b64decode(made))["weight"].tolist() == [0.0, 1.0, 2.0, 3.0]
    finally:
        road.file.write_text(before)
        lock.write_text(pinned)
        # Back to what the lock says: another test compares the hosts file by file.
        road.on("h1", f"rm -f {CONVERTED}")
        for words in (("apply", "--limit", "h1", "--role", "models"), ("models", "prune", "--yes", "--limit", "h1")):
            done = road.sdfleet(*words)
            assert done.code == 0, done.text
