"""Root's work in places where somebody else writes: what is planted there is never followed, waited for or read on."""

import contextlib
import grp
import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from roles.onhost import nofollow, nofollow_changes
from tests.roles.swaps import for_a_link, swap_after

Place = Callable[[Path, Path], None]


def link_itself(place: Path, victim: Path) -> None:
    place.symlink_to(victim)


def link_above(place: Path, victim: Path) -> None:
    place.parent.rmdir()
    place.parent.symlink_to(victim.parent)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file that nothing may touch, in a folder of its own."""
    (tmp_path / "outside").mkdir()
    file = tmp_path / "outside/file"
    file.write_text("untouched")
    return file


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A name in a folder that others write."""
    folder = tmp_path / "theirs/folder"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o775)
    folder.chmod(0o775)
    return folder / "file"


def untouched(victim: Path) -> bool:
    return [(file.name, file.read_text()) for file in victim.parent.iterdir()] == [("file", "untouched")]


def test_a_written_file_takes_the_place_of_a_link(place: Path, victim: Path) -> None:
    link_itself(place, victim)
    nofollow_changes.write(place, b"ours")
    assert place.read_text() == "ours" and not place.is_symlink()
    assert untouched(victim) and [file.name for file in place.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("work", ["write", "link", "make_folder", "make_alike", "read", "unlink"])
def test_nothing_is_done_behind_a_link_in_the_way(place: Path, victim: Path, work: str) -> None:
    link_above(place, victim)
    deeds: dict[str, Callable[[], object]] = {
        "write": lambda: nofollow_changes.write(place, b"ours"),
        "link": lambda: nofollow_changes.link(place, "/"),
        "make_folder": lambda: nofollow_changes.make_folder(place, os.getuid(), os.getgid(), 0o700),
        "make_alike": lambda: nofollow_changes.make_alike(place / "deeper"),
        "read": lambda: nofollow.read(place),
        "unlink": lambda: nofollow_changes.unlink(place),
    }
    with pytest.raises(nofollow.UnsafeError, match="a link that a service may have made"):
        deeds[work]()
    assert untouched(victim)


def test_a_link_of_our_own_is_followed(tmp_path: Path, victim: Path) -> None:
    """The data root may be one: its folder is root's alone."""
    (tmp_path / "ours").mkdir(mode=0o755)
    (tmp_path / "ours/link").symlink_to("../outside")
    assert nofollow.read(tmp_path / "ours/link/file") == b"untouched"
    (tmp_path / "ours").chmod(0o777)
    with pytest.raises(nofollow.UnsafeError):
        nofollow.read(tmp_path / "ours/link/file")


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(nofollow.UnsafeError):
        nofollow.read(tmp_path / "a/file")


def test_no_folder_is_chowned_through_a_link(place: Path, victim: Path) -> None:
    link_itself(place, victim.parent)
    before = victim.parent.stat()
    with pytest.raises(nofollow.UnsafeError, match="no folder but a link or a file"):
        nofollow_changes.make_folder(place, os.getuid(), os.getgid(), 0o777)
    assert victim.parent.stat().st_mode == before.st_mode


def test_a_folder_that_is_swapped_before_it_is_given_away_is_not_followed(
    place: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """mkdir, then chown: whoever owns the folder above wins the race between the two every time here."""
    before = victim.parent.stat()
    swap_after(monkeypatch, "mkdir", place.name, for_a_link(place, victim.parent))
    with pytest.raises(nofollow.UnsafeError, match="no folder but a link or a file"):
        nofollow_changes.make_folder(place, 65534, 65534, 0o777)
    after = victim.parent.stat()
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode) and untouched(victim)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a folder away")
def test_a_folder_is_given_away_where_it_was_made_although_the_one_above_is_swapped(
    place: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (victim.parent / "file").rename(victim.parent / "other")
    (victim.parent / "file").mkdir()
    swap_after(monkeypatch, "mkdir", place.name, for_a_link(place.parent, victim.parent))
    nofollow_changes.make_folder(place, 65534, 65534, 0o777)
    assert (victim.parent / "file").stat().st_uid == 0, "the folder of that name behind the link"
    assert (place.parents[1] / "folder-was/file").stat().st_uid == 65534


@pytest.mark.parametrize("work", ["write", "link", "make_folder", "read", "unlink"])
@pytest.mark.parametrize("call", ["stat", "open"])
def test_a_folder_that_is_swapped_while_root_is_on_its_way_is_not_followed(
    call: str, work: str, place: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any look at it, and after it is open."""
    place.write_text("theirs")
    deeds: dict[str, Callable[[], object]] = {
        "write": lambda: nofollow_changes.write(place, b"ours"),
        "link": lambda: nofollow_changes.link(place, "/"),
        "make_folder": lambda: nofollow_changes.make_folder(place, os.getuid(), os.getgid(), 0o700),
        "read": lambda: nofollow.read(place),
        "unlink": lambda: nofollow_changes.unlink(place),
    }
    swap_after(monkeypatch, call, place.parent.name, for_a_link(place.parent, victim.parent))
    with contextlib.suppress(OSError):  # what it is for is not there any more, or is no folder
        assert deeds[work]() != b"untouched"
    assert (place.parents[1] / "folder").is_symlink(), "the swap took place"
    assert untouched(victim)


def test_a_fifo_a_folder_and_a_file_without_end_are_not_waited_for(place: Path) -> None:
    os.mkfifo(place)
    with pytest.raises(nofollow.UnsafeError, match="no regular file"):
        nofollow.read(place)
    place.unlink()
    place.mkdir()
    with pytest.raises(nofollow.UnsafeError):
        nofollow.read(place)
    place.rmdir()
    with place.open("wb") as file:
        file.truncate(1 << 42)
    with pytest.raises(nofollow.UnsafeError, match="more than 4000000 bytes"):
        nofollow.read(place)
    place.unlink()
    place.symlink_to("/dev/zero")
    with pytest.raises(nofollow.UnsafeError):
        nofollow.read(place)
    assert nofollow.read_json(place) == {}


@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "null", "{", ""])
def test_what_is_no_object_is_an_empty_one(place: Path, text: str) -> None:
    place.write_text(text)
    assert nofollow.read_json(place) == {}


def test_a_walk_leaves_out_links_and_ends(place: Path, victim: Path) -> None:
    folder = place.parent
    (folder / "a").write_text("a")
    (folder / "link").symlink_to(victim)
    (folder / "around").symlink_to(".")
    os.mkfifo(folder / "fifo")
    deep = folder.joinpath(*["d"] * 60)
    deep.mkdir(parents=True)
    (deep / "b").touch()
    assert [path for path, _, _ in nofollow.files_below(folder)] == ["a"]
    assert [path for path, _, _ in nofollow.files_below(folder, links=True)] == ["a", "around", "link"]


def test_alike_belongs_to_the_folders_owner(place: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root to give a file away")
    os.chown(place.parent, 65534, 65534)
    nofollow_changes.write(place, b"note", alike=True)
    nofollow_changes.make_alike(place.parent / "models/Lora")
    for path in (place, place.parent / "models", place.parent / "models/Lora"):
        assert path.stat().st_uid == 65534
    assert stat.S_IMODE(place.stat().st_mode) == 0o644


def test_alike_belongs_to_the_service_in_a_home_of_roots(place: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root to give a file away")
    user = pwd.getpwnam("daemon")
    os.chown(place.parent, 0, grp.getgrnam("daemon").gr_gid)
    place.parent.chmod(0o1775)
    nofollow_changes.write(place, b"note", alike=True)
    nofollow_changes.make_alike(place.parent / "models/Lora")
    for path in (place, place.parent / "models", place.parent / "models/Lora"):
        assert path.stat().st_uid == user.pw_uid
