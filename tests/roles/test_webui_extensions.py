"""What extensions keep beside their own files: nothing of it is lost, and each release gets to see it."""

import subprocess
from pathlib import Path

import pytest

from tests import onhost
from tests.roles.test_pinned_checkout import check_out, git, repository


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder whose extension `ext` was checked out there by an earlier sdfleet, with settings of its own."""
    first = repository(tmp_path / "origin", script="one")
    extension = tmp_path / "data/extensions/ext"
    extension.parent.mkdir(parents=True)
    assert check_out(tmp_path, str(tmp_path / "origin"), first).returncode == 0
    (tmp_path / "tree").rename(extension)
    (extension / "models").mkdir()
    (extension / "models/large.pth").write_text("a model")
    (extension / "settings.json").write_text("{}")
    (extension / "__pycache__").mkdir()
    (extension / "__pycache__/x.pyc").write_text("compiled")
    return tmp_path / "data"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = onhost.words("webui_extensions", *words)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def take(data: Path, *words: str) -> subprocess.CompletedProcess[str]:
    places = {"--extensions": data / "extensions", "--kept": data / "kept", "--store": data.parent / "store"}
    return run("take", *(word for pair in places.items() for word in pair), *words)


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_settings_are_kept_and_the_checkout_stays_for_the_release_of_then(data: Path) -> None:
    assert take(data, "--keep", "ext").returncode == 0
    assert files(data / "kept/ext") == ["models/large.pth", "settings.json"]
    assert (data / "extensions/ext/settings.json").exists()
    assert (data / "extensions/ext/settings.json").samefile(data / "kept/ext/settings.json"), "no second copy of models"


def test_what_the_fleet_no_longer_names_goes_and_its_settings_stay(data: Path) -> None:
    (data / "extensions/mine").mkdir()
    assert take(data, "--drop", "ext").returncode == 0
    assert [folder.name for folder in (data / "extensions").iterdir()] == ["mine"]
    assert files(data / "kept/ext") == ["models/large.pth", "settings.json"]
    assert take(data, "--keep").returncode == 0


def test_a_checkout_that_nobody_knows_is_left_alone(data: Path) -> None:
    (data / "extensions/ext/.git/HEAD").write_text("ref: refs/heads/main\n")
    done = take(data, "--drop", "ext")
    assert done.returncode == 1 and "move the folder away, then apply again" in done.stderr
    assert (data / "extensions/ext/settings.json").exists()


def test_git_programs_in_an_extension_are_not_run(data: Path) -> None:
    git(data / "extensions/ext", "config", "core.fsmonitor", f"touch {data}/ran; false")
    assert take(data, "--drop", "ext").returncode == 0
    assert not (data / "ran").exists()


def test_a_release_sees_what_is_kept_and_its_own_files_come_first(data: Path, tmp_path: Path) -> None:
    take(data, "--drop", "ext")
    tree, outside = tmp_path / "release/ext", tmp_path / "outside"
    tree.mkdir(parents=True)
    outside.mkdir()
    (tree / "settings.json").write_text("of the new version")
    (data / "kept/ext/elsewhere").mkdir()
    (data / "kept/ext/elsewhere/file").write_text("x")
    (tree / "elsewhere").symlink_to(outside)
    for _ in range(2):
        done = run("show", "--kept", data / "kept/ext", "--tree", tree)
        assert done.returncode == 0, done.stderr
    assert (tree / "models/large.pth").read_text() == "a model"
    assert (tree / "settings.json").read_text() == "of the new version"
    assert list(outside.iterdir()) == [], "nothing is written through a link of the extension's"
    assert run("show", "--kept", data / "kept/none", "--tree", tree).returncode == 0


def test_nothing_is_done_through_what_the_webui_swapped(data: Path, tmp_path: Path) -> None:
    outside, tree = tmp_path / "outside", tmp_path / "release/ext"
    (outside / "ext").mkdir(parents=True)
    (outside / "ext/file").write_text("untouched")
    tree.mkdir(parents=True)
    data.chmod(0o777)
    (data / "kept").symlink_to(outside)
    (data / ".ext.dropped").symlink_to(outside)
    done = take(data, "--drop", "ext")
    assert done.returncode == 1 and "is no folder but a link" in done.stderr
    shown = run("show", "--kept", data / "kept/ext", "--tree", tree)
    assert shown.returncode == 1 and "is not followed" in shown.stderr
    assert not list(tree.iterdir())
    (data / "kept").unlink()
    assert take(data, "--drop", "ext").returncode == 0
    (data / "extensions").rmdir()
    (data / "extensions").symlink_to(outside)
    (outside / "empty").mkdir()
    for done in (take(data, "--drop", "ext"), run("clear", "--extensions", data / "extensions", "empty")):
        assert done.returncode == 1 and "is not followed" in done.stderr
    assert (outside / "ext/file").read_text() == "untouched" and (outside / "empty").is_dir()


def test_empty_folders_are_removed_and_others_stay(data: Path) -> None:
    (data / "extensions/gone").mkdir()
    assert run("clear", "--extensions", data / "extensions", "gone").returncode == 0
    assert run("clear", "--extensions", data / "extensions", "ext").returncode == 1
    assert [folder.name for folder in (data / "extensions").iterdir()] == ["ext"]
