"""Files that are replaced atomically."""

import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from training import atomic_file


@pytest.mark.parametrize("durable", [True, False])
def test_a_reader_finds_the_old_content_until_the_new_one_is_whole(tmp_path: Path, durable: bool) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    with atomic_file.replaced(file, durable=durable) as part:
        part.write_text("new")
        assert file.read_text() == "old"
        assert part.name.startswith(".") and part.parent == tmp_path
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_content_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    with pytest.raises(error), atomic_file.replaced(file) as part:
        part.write_text("half")
        raise error
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_what_a_killed_process_left_is_removed_and_a_running_ones_file_is_not(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    file, others = tmp_path / "a[1].safetensors", tmp_path / ".b.safetensors.1.part"
    left, running = tmp_path / f".{file.name}.{ended.pid}.part", tmp_path / f".{file.name}.1.part"
    for path in (left, running, others):
        path.write_text("half")
    with atomic_file.replaced(file) as part:
        part.write_text("new")
    assert sorted(tmp_path.iterdir()) == sorted([file, running, others])


def test_others_may_read_what_a_writer_made_for_its_owner_alone(tmp_path: Path) -> None:
    plain, file = tmp_path / "plain", tmp_path / "a.safetensors"
    plain.touch()
    with atomic_file.replaced(file) as part:
        save_file({"a": torch.zeros(1)}, part)
    assert file.stat().st_mode == plain.stat().st_mode
