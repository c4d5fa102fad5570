"""What extensions keep beside their own files: nothing of it is lost, and each release gets to see it."""

import contextlib
import shlex
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from roles.facts.survey import Survey
from roles.managers import SYSTEMD
from roles.onhost import webui_extensions
from roles.operations.sources import Source, intact
from roles.paths import Paths
from roles.programs import command
from roles.webui.application import finishing
from roles.webui.config import Extension, Webui
from roles.webui.extensions import PROGRAM
from roles.webui.release import release_of
from tests import onhost
from tests.roles.swaps import for_a_link, swap_after
from tests.roles.test_pinned_checkout import check_out, git, repository

pytestmark = pytest.mark.slow


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


def plant_repository(place: Path, proof: Path, origin: Path) -> None:
    """A bare repository that lacks every object, and names a program to get them with."""
    trap = place.with_name("trap")
    trap.write_text(f"#!/bin/sh\ntouch {proof}\n")
    trap.chmod(0o755)
    place.mkdir()
    git(place, "init", "--quiet", "--bare")
    for key, value in {
        "core.repositoryformatversion": "1",
        "extensions.partialclone": "other",
        "protocol.allow": "always",
        "remote.other.promisor": "true",
        "remote.other.uploadpack": str(trap),
        "remote.other.url": str(origin),
    }.items():
        git(place, "config", key, value)


def looked_at(tree: Path, at: str) -> bool:
    """Whether root, as it looks at a release's trees, finds one as it was checked out."""
    done = subprocess.run(["sh", "-c", Survey().command(trees=[tree])], capture_output=True, text=True, timeout=60)
    return intact({PurePosixPath(tree): Source("", at)}, Survey().process(done.stdout.splitlines()))


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


def test_folders_that_the_webui_nested_deeply_are_removed_too(data: Path) -> None:
    nest = "import os, sys\nos.chdir(sys.argv[1])\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')"
    subprocess.run([sys.executable, "-c", nest, str(data / "extensions/ext")], check=True)
    done = take(data, "--drop", "ext")
    assert done.returncode == 0, done.stderr
    assert sorted(place.name for place in data.iterdir()) == ["extensions", "kept"]
    assert files(data / "kept/ext") == ["models/large.pth", "settings.json"]


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


@pytest.mark.parametrize("call", ["mkdir", "lstat"])
def test_nothing_is_kept_behind_a_folder_that_is_swapped_meanwhile(
    call: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    (outside / "ext").mkdir(parents=True)
    (outside / "secret").touch()
    extension, kept = data / "extensions/ext", data / "kept/ext"
    swapped = kept.parent if call == "mkdir" else extension / "models"
    swap_after(monkeypatch, call, swapped.name, for_a_link(swapped, outside))
    with contextlib.suppress(OSError):
        webui_extensions.keep(extension, kept, set())
    assert swapped.is_symlink()
    assert files(outside) == ["secret"]
    assert not list((data / "kept-was" if call == "mkdir" else kept).rglob("secret")), "nothing of it is kept"


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path, str]:
    """An extension's tree in a release, with a place for a submodule that no URL is named for; what is kept; commit."""
    first = repository(tmp_path / "origin", script="one")
    git(tmp_path / "origin", "update-index", "--add", "--cacheinfo", f"160000,{first},part")
    git(tmp_path / "origin", "commit", "--quiet", "--message", "two")
    at = git(tmp_path / "origin", "rev-parse", "HEAD")
    done = check_out(tmp_path, str(tmp_path / "origin"), at)
    assert done.returncode == 0, done.stderr
    kept = tmp_path / "kept"
    kept.mkdir()
    return tmp_path / "tree", kept, at


@pytest.mark.parametrize("place", [".git/commondir", ".git/sub/commondir", "part/.git"])
def test_what_is_kept_becomes_no_part_of_a_repository_that_root_looks_at(
    place: str, trees: tuple[Path, Path, str], tmp_path: Path
) -> None:
    """git as root would take its configuration from there, and with it the names of programs to run."""
    tree, kept, at = trees
    plant_repository(tmp_path / "planted", tmp_path / "ran", tmp_path / "origin")
    planted = kept / place
    planted.parent.mkdir(parents=True)
    planted.write_text(f"{'gitdir: ' if planted.name == '.git' else ''}{tmp_path / 'planted'}\n")
    (kept / "settings.json").write_text("mine")
    done = run("show", "--kept", kept, "--tree", tree)
    assert done.returncode == 0, done.stderr
    assert (tree / "settings.json").read_text() == "mine"
    assert not [file for file in tree.rglob("*") if ".git" in file.parts and file.is_symlink()]
    assert looked_at(tree, at)
    assert not (tmp_path / "ran").exists()


def test_a_release_into_which_an_older_sdfleet_linked_a_repository_is_not_looked_at_but_built_again(
    trees: tuple[Path, Path, str], tmp_path: Path
) -> None:
    tree, kept, at = trees
    assert looked_at(tree, at)
    plant_repository(tmp_path / "planted", tmp_path / "ran", tmp_path / "origin")
    (kept / "commondir").write_text(f"{tmp_path / 'planted'}\n")
    (tree / ".git/commondir").symlink_to(kept / "commondir")
    assert not looked_at(tree, at)
    assert not (tmp_path / "ran").exists()


def test_requirements_are_read_before_anything_kept_is_linked_beside_them() -> None:
    """Kept files are the WebUI's own: a FIFO named requirements.txt would hold every build of a release."""
    extension = Extension(name="good", url="https://github.com/a/b", commit="1" * 40)
    webui, paths = Webui(extensions=(extension,)), Paths()
    steps = finishing(webui, paths, release_of(webui, "cpu"), SYSTEMD)
    [linked] = [
        number for number, step in enumerate(steps) if step.startswith(shlex.join(command(paths.onhost, PROGRAM)))
    ]
    [read] = [number for number, step in enumerate(steps) if "extensions/good/requirements.txt" in step]
    assert read < linked


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
