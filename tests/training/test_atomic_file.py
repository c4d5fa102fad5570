"""Files that are replaced atomically."""

from pathlib import Path

import pytest

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
