"""The program that links an extension's work tree, which is root's, into the WebUI's folder."""

from pathlib import Path

import pytest

from roles.onhost import nofollow, show_folder


@pytest.fixture
def link(tmp_path: Path) -> Path:
    """Its name in a folder that the WebUI can write; beside it are the tree and a folder for what is in the way."""
    for name in ("data/extensions", "tree", "aside", "outside"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "data").chmod(0o775)
    return tmp_path / "data/extensions/good"


def show(link: Path) -> None:
    home = link.parents[2]
    show_folder.main(str(link), str(home / "tree"), str(home / "aside"))


def test_it_is_shown_again_and_again(link: Path) -> None:
    for _ in range(2):
        show(link)
        assert link.readlink() == link.parents[2] / "tree"
    assert [entry.name for entry in link.parent.iterdir()] == ["good"]


def test_what_an_older_sdfleet_checked_out_is_moved_aside(link: Path) -> None:
    link.mkdir()
    (link / "settings").write_text("mine")
    show(link)
    [aside] = (link.parents[2] / "aside").iterdir()
    assert (aside / "settings").read_text() == "mine" and link.is_symlink()


def test_a_link_to_another_place_is_replaced_and_not_followed(link: Path) -> None:
    link.symlink_to(link.parents[2] / "outside")
    show(link)
    assert link.readlink() == link.parents[2] / "tree"
    assert list((link.parents[2] / "outside").iterdir()) == []


def test_a_swapped_folder_is_refused(link: Path) -> None:
    link.parent.rmdir()
    link.parent.symlink_to(link.parents[2] / "outside")
    with pytest.raises(nofollow.UnsafeError):
        show(link)
    assert list((link.parents[2] / "outside").iterdir()) == []
