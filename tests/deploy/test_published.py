"""What is noted of published LoRAs: by several at once, on a full disk, and with a damaged note."""

import hashlib
import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from deploy.onhost import published
from roles.onhost import nofollow_changes


def publish(root: Path, number: int) -> Any:
    """Publish a LoRA of its own."""
    content = f"lora {number}".encode()
    sha256 = hashlib.sha256(content).hexdigest()
    store = root / "store"
    blob = store / "sha256" / sha256[:2] / sha256
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    return published.main(
        run=f"run-{number}",
        sha256=sha256,
        incoming=str(store / "none"),
        blob=str(blob),
        link=str(root / f"Lora/ink-{number}.safetensors"),
        manifest=str(store / "published.json"),
        ports={"webui": 1},
    )


@pytest.fixture(autouse=True)
def no_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "_refresh", lambda app, port: False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    (tmp_path / "Lora").mkdir()
    return tmp_path


def test_eight_at_once_are_all_noted(root: Path) -> None:
    with multiprocessing.get_context("fork").Pool(8) as pool:
        answers = pool.starmap(publish, [(root, number) for number in range(8)])
    assert [answer["changed"] for answer in answers] == [True] * 8
    noted = json.loads((root / "store/published.json").read_text())
    assert noted.keys() == {str(root / f"Lora/ink-{number}.safetensors") for number in range(8)}


def test_a_disk_that_is_full_leaves_no_link_without_a_note(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patch:
        patch.setattr(nofollow_changes, "write", full)
        answer = publish(root, 1)
    assert answer == {"error": f"{root}/store/published.json cannot be written: No space left on device"}
    assert not list((root / "Lora").iterdir()), "apply would remove this link"
    assert publish(root, 1)["changed"], "publishing again does not finish the job"


def test_it_is_told_whether_another_file_had_the_name(root: Path) -> None:
    assert [publish(root, 1)["replaced"] for _ in range(2)] == [False, False]
    link = root / "Lora/ink-1.safetensors"
    link.unlink()
    link.symlink_to(root / "store/sha256/aa/other")
    assert publish(root, 1)["replaced"] and link.read_bytes() == b"lora 1"


@pytest.mark.parametrize("damage", ["{", "[]", "", '"x"'])
def test_a_damaged_note_is_not_replaced(root: Path, damage: str) -> None:
    (root / "store/published.json").write_text(damage)
    assert "is damaged; restore it from a backup" in publish(root, 1)["error"]
    assert (root / "store/published.json").read_text() == damage and not list((root / "Lora").iterdir())
