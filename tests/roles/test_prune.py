"""Which releases of an application stay on a host, and which folders are not sdfleet's to remove."""

import json
import os
import time
from pathlib import Path

import pytest

from roles.onhost import confirm, prune


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An application that has served r1, r2 and r3 in this order, and whose current release is r3."""
    home = tmp_path / "webui"
    for age, name in enumerate(("r3", "r2", "r1")):
        release(home, name, age)
    (home / "current").symlink_to("releases/r3")
    served = [entry(name) for name in ("r1", "r2", "r3")]
    (home / "history.json").write_text(json.dumps({"served": served, "trying": None}))
    return home


def entry(name: str, left: str = "") -> dict[str, str]:
    """One of the history."""
    return {"release": name, "unit": "", "text": "", "left": left}


def release(home: Path, name: str, days: int, manifest: bool = True) -> Path:
    """A release's folder, so many days old."""
    folder = home / "releases" / name
    folder.mkdir(parents=True)
    if manifest:
        (folder / prune.MANIFEST).write_text("{}")
    then = time.time() - 86400 * days
    os.utime(folder, (then, then))
    return folder


def left(home: Path) -> list[str]:
    return sorted(folder.name for folder in (home / "releases").iterdir())


def test_the_last_to_serve_stay(app: Path) -> None:
    prune.prune_releases(app, 2)
    assert left(app) == ["r2", "r3"]


def test_a_release_that_was_refused_takes_no_place_of_one_to_go_back_to(app: Path) -> None:
    history = app / "history.json"
    served = [entry("r1"), entry("r2", left="2026-11-29"), entry("r3")]
    history.write_text(json.dumps({"served": served, "trying": None}))
    prune.prune_releases(app, 2)
    assert left(app) == ["r1", "r3"]


def test_what_the_host_may_put_back_stays(app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirm, "STATE", tmp_path)
    (tmp_path / "pending.json").write_text(json.dumps({"apps": [{"folder": str(app), "release": "r1"}]}))
    prune.prune_releases(app, 2)
    assert left(app) == ["r1", "r2", "r3"]


def test_releases_may_have_another_mark(app: Path) -> None:
    for name in ("r1", "r3"):
        (app / "releases" / name / "nginx.conf").touch()
    prune.prune_releases(app, 1, "nginx.conf")
    assert left(app) == ["r2", "r3"]


@pytest.mark.parametrize("text", ["", "[]", '{"served": 3}', '{"served": ["r1"]}', '{"served": [{}]}'])
def test_a_damaged_history_leaves_the_youngest(app: Path, text: str) -> None:
    (app / "history.json").write_text(text)
    prune.prune_releases(app, 2)
    assert left(app) == ["r2", "r3"]


@pytest.mark.parametrize("days", [0, 400])
def test_a_folder_that_sdfleet_did_not_build_is_neither_counted_nor_removed(app: Path, days: int) -> None:
    release(app, "my-notes", days, manifest=False)
    release(app, ".git", days, manifest=False)
    prune.prune_releases(app, 2)
    assert left(app) == [".git", "my-notes", "r2", "r3"]


def test_what_interrupted_builds_left_is_removed(app: Path) -> None:
    release(app, ".r4.building", 0, manifest=False)
    release(app, ".r1.old", 0)
    prune.prune_releases(app, 3)
    assert left(app) == ["r1", "r2", "r3"]


def test_the_release_in_use_stays_though_its_manifest_is_gone(app: Path) -> None:
    (app / "releases/r3" / prune.MANIFEST).unlink()
    prune.prune_releases(app, 1)
    assert left(app) == ["r2", "r3"]
