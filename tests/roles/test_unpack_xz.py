"""Root unpacks files of a repository, and never leaves its folder."""

import lzma
import sys
from pathlib import Path

import pytest

from roles.onhost import unpack_xz


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A checkout with one packed file."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code/a.json.xz").write_bytes(lzma.compress(b"{}"))
    return tmp_path / "code"


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["unpack_xz", *words])
    unpack_xz.main()


def test_each_is_unpacked_and_one_that_is_there_stays(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code / "b.json").write_text("mine")
    run(monkeypatch, str(code), "a.json.xz", "a.json", "a.json.xz", "b.json")
    assert (code / "a.json").read_text() == "{}"
    assert (code / "b.json").read_text() == "mine"


@pytest.mark.parametrize(("packed", "file"), [("a.json.xz", "away/a.json"), ("away/a.json.xz", "a.json")])
def test_a_link_out_of_the_folder_is_not_followed(
    packed: str, file: str, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code.parent / "etc").mkdir()
    (code.parent / "etc/a.json.xz").write_bytes(lzma.compress(b"[]"))
    (code / "away").symlink_to("../etc")
    with pytest.raises(SystemExit, match=r"leads out of .* by a link"):
        run(monkeypatch, str(code), packed, file)
    assert not (code.parent / "etc/a.json").exists() and not (code / "a.json").exists()


def test_a_link_in_the_files_own_place_is_not_followed(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code / "a.json").symlink_to("../elsewhere")
    with pytest.raises(SystemExit, match=r"leads out of .* by a link"):
        run(monkeypatch, str(code), "a.json.xz", "a.json")
    assert not (code.parent / "elsewhere").exists()


def test_what_would_fill_the_disk_is_refused(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack_xz, "LARGEST", 1)
    with pytest.raises(SystemExit, match=r"a\.json\.xz has more than 1 bytes"):
        run(monkeypatch, str(code), "a.json.xz", "a.json")
    assert not (code / "a.json").exists()
