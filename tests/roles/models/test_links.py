"""Names that lead into the store."""

import os
from pathlib import Path

from tests.roles.models.conftest import Fetcher, content, digest, wanted
from tests.roles.models.origin import Origin

ONE, TWO = content(1), content(2)


def test_a_file_that_replaces_another_is_newer(fetcher: Fetcher, origin: Origin, tmp_path: Path) -> None:
    """Or the WebUI would go on showing the old file's hash."""
    name = tmp_path / "models/Lora/ink.safetensors"
    files = wanted(ONE, origin.serve("/1", ONE)), wanted(TWO, origin.serve("/2", TWO))
    assert fetcher.run(*files, links={str(name): digest(ONE)}).status == 0
    os.utime(fetcher.blob(ONE), (4e9, 4e9))
    os.utime(fetcher.blob(TWO), (1e9, 1e9))
    assert fetcher.run(*files, links={str(name): digest(TWO)}).status == 0
    assert name.read_bytes() == TWO
    assert name.stat().st_mtime > 4e9


def test_a_persons_file_in_the_way_is_left_alone(fetcher: Fetcher, origin: Origin, tmp_path: Path) -> None:
    mine, elsewhere = tmp_path / "mine.safetensors", tmp_path / "elsewhere.safetensors"
    mine.write_text("precious")
    elsewhere.symlink_to("/somewhere/else")
    links = {str(mine): digest(ONE), str(elsewhere): digest(ONE), str(tmp_path / "free.safetensors"): digest(ONE)}
    done = fetcher.run(wanted(ONE, origin.serve("/1", ONE)), links=links)
    assert done.status == 1
    assert f"{elsewhere}, {mine}: a file that sdfleet did not put there is in the way" in done.errors[0]
    assert mine.read_text() == "precious"
    assert str(elsewhere.readlink()) == "/somewhere/else"
    assert (tmp_path / "free.safetensors").read_bytes() == ONE


def test_unlinking_removes_links_into_the_store_and_nothing_else(
    fetcher: Fetcher, origin: Origin, tmp_path: Path
) -> None:
    old, mine = tmp_path / "old.safetensors", tmp_path / "mine.safetensors"
    assert fetcher.run(wanted(ONE, origin.serve("/1", ONE)), links={str(old): digest(ONE)}).status == 0
    mine.write_text("precious")
    assert fetcher.run(unlink=[str(old), str(mine)]).status == 0
    assert not old.is_symlink()
    assert mine.exists()
    assert fetcher.blob(ONE).exists()


def test_new_folders_belong_to_the_owner_of_the_tree(fetcher: Fetcher, origin: Origin, tmp_path: Path) -> None:
    data = tmp_path / "webui"
    data.mkdir()
    if os.getuid() == 0:
        os.chown(data, 1234, 1234)
    name = data / "models/Lora/ink.safetensors"
    assert fetcher.run(wanted(ONE, origin.serve("/1", ONE)), links={str(name): digest(ONE)}).status == 0
    assert (data / "models/Lora").stat().st_uid == data.stat().st_uid


def test_texts_have_exactly_their_content(fetcher: Fetcher, tmp_path: Path) -> None:
    ref = tmp_path / "hub/models--a--b/refs/main"
    assert fetcher.run(texts={str(ref): "0" * 40}).status == 0
    assert fetcher.run(texts={str(ref): "1" * 40}).status == 0
    assert ref.read_text() == "1" * 40
