"""The one command that looks at a host, run on this machine."""

import getpass
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from roles.facts.seen import INVENTORY, HostSurvey, inventory_command
from roles.facts.survey import SMALL, Survey


def survey(**asked: Any) -> HostSurvey:
    fact = Survey()
    done = subprocess.run(["sh", "-c", fact.command(**asked)], capture_output=True, text=True, check=True)
    return fact.process(done.stdout.splitlines())


def test_paths(tmp_path: Path) -> None:
    (tmp_path / "a folder").mkdir(mode=0o750)
    (tmp_path / "link").symlink_to("a folder")
    found = survey(paths=[tmp_path / "a folder", tmp_path / "link", tmp_path / "none"])
    folder, link = found.entry(tmp_path / "a folder"), found.entry(tmp_path / "link")
    assert folder and (folder.kind, folder.mode, folder.owner) == ("d", 0o750, getpass.getuser())
    assert link and (link.kind, link.target) == ("l", "a folder")
    assert found.entry(tmp_path / "none") is None


def test_texts_come_as_they_are(tmp_path: Path) -> None:
    text = "one\n\ttwo 'three' $four\nno newline at the end: ä"
    (tmp_path / "file").write_text(text)
    found = survey(texts=[tmp_path / "file", tmp_path / "none"])
    assert found.text(tmp_path / "file") == text
    assert found.text(tmp_path / "none") is None
    assert found.entry(tmp_path / "file") is not None


def test_work_trees(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    (tmp_path / "file").write_text("one")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    clean = survey(trees=[tmp_path, tmp_path / "none"]).trees
    assert list(clean) == [str(tmp_path)]
    assert not clean[str(tmp_path)].dirty and len(clean[str(tmp_path)].commit) == 40
    (tmp_path / "file").write_text("two")
    assert survey(trees=[tmp_path]).trees[str(tmp_path)].dirty


def test_a_tree_whose_configuration_names_programs_runs_none(tmp_path: Path) -> None:
    tree, caught = tmp_path / "good", tmp_path / "caught"
    (tmp_path / "trap").write_text(f"#!/bin/sh\necho $0 >>{caught}\n")
    (tmp_path / "trap").chmod(0o755)
    tree.mkdir()
    git = ["git", "-C", str(tree), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    (tree / "file").write_text("one")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    for key in ("core.fsmonitor", "core.pager", "diff.external"):
        subprocess.run([*git, "config", key, str(tmp_path / "trap")], check=True)
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "nobody", str(tree)], check=True)
    found = survey(trees=[tree]).trees
    assert not caught.exists()
    assert list(found) == ([] if os.geteuid() == 0 else [str(tree)]), "only root's trees are looked at"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to read as another user")
def test_what_a_service_wrote_is_read_as_it_could_read_it(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    secret, fine, endless, fifo = (tmp_path / name for name in ("secret", "fine", "endless", "fifo"))
    secret.write_text("secret")
    secret.chmod(0o600)
    fine.write_text("text")
    (tmp_path / "link").symlink_to(fine)
    os.truncate(os.open(endless, os.O_CREAT | os.O_WRONLY), 1 << 42)
    os.mkfifo(fifo)
    asked = (secret, fine, tmp_path / "link", endless, fifo, tmp_path / "none", Path("/dev/zero"))
    found = survey(written_by=dict.fromkeys(asked, "daemon"))
    assert found.text(fine) == "text"
    assert found.texts.keys() == {str(fine), str(endless)}
    assert len(found.texts[str(endless)]) == SMALL


def test_a_folder_that_lost_a_file_is_broken_and_one_with_compiled_code_is_not(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/a.py").touch()
    digest = subprocess.run(["sh", "-c", inventory_command(tmp_path)], capture_output=True, text=True, check=True)
    (tmp_path / INVENTORY).write_text(digest.stdout)
    (tmp_path / "lib/a.cpython-311.pyc").touch()
    assert survey(paths=[tmp_path], whole=[tmp_path]).whole(tmp_path)
    (tmp_path / "lib/a.py").unlink()
    assert not survey(paths=[tmp_path], whole=[tmp_path]).whole(tmp_path)
    assert not survey(paths=[tmp_path / "none"], whole=[tmp_path / "none"]).whole(tmp_path / "none")


def _digest(folder: Path, command: str | None = None) -> str:
    command = command or inventory_command(folder)
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout


def test_a_line_break_in_a_name_stands_for_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "one\ntwo").touch()
    forged = _digest(tmp_path)
    (tmp_path / "one\ntwo").unlink()
    (tmp_path / "one").touch()
    (tmp_path / "two").touch()
    assert _digest(tmp_path) != forged


def test_digests_that_hosts_keep_since_earlier_versions_hold(tmp_path: Path) -> None:
    for name in ("b", "a b", "lib/ä", "lib/A-1.dist-info"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    earlier = f"find {tmp_path} -type f ! -name {INVENTORY} ! -name '*.pyc' -printf '%P\\n' | LC_ALL=C sort | sha256sum"
    assert _digest(tmp_path) == _digest(tmp_path, earlier)


def test_users_space_and_names(tmp_path: Path) -> None:
    (tmp_path / "b").touch()
    (tmp_path / ".a").touch()
    found = survey(users=["root", "nobody-of-that-name"], disks=[tmp_path / "not/yet/there"], folders=[tmp_path])
    assert found.users == {"root": "/root"}
    disk = found.disks[str(tmp_path / "not/yet/there")]
    assert disk.free_bytes > 0 and tmp_path.is_relative_to(disk.mount)
    assert sorted(found.names[str(tmp_path)]) == [".a", "b"]


@pytest.mark.skipif(not shutil.which("dpkg-query"), reason="needs a Debian or Ubuntu system")
def test_a_package_may_be_named_with_its_architecture() -> None:
    native = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True).stdout.strip()
    there, other = f"coreutils:{native}", "coreutils:i386" if native != "i386" else "coreutils:armhf"
    assert {"coreutils", there} <= survey(packages=["coreutils", there, other]).packages
    assert other not in survey(packages=[other]).packages


def test_units_and_provided_packages_as_a_host_prints_them() -> None:
    lines = [
        "os ubuntu noble",
        "package\tii \tlibglib2.0-0t64\tlibglib2.0-0 (= 2.80.0-6)",
        "package\trc \tgit\t",
        "unit\tId=a.service",
        "unit\tLoadState=loaded",
        "unit\tActiveState=active",
        "unit\tUnitFileState=disabled",
        "unit\tNeedDaemonReload=yes",
    ]
    found = Survey().process(lines)
    assert (found.os_id, found.codename) == ("ubuntu", "noble")
    assert {"libglib2.0-0t64", "libglib2.0-0"} <= found.packages
    assert "git" not in found.packages
    unit = found.unit("a.service")
    assert (unit.loaded, unit.active, unit.enabled, unit.stale) == (True, True, False, True)
    assert not found.unit("b.service").loaded


def test_names_with_line_breaks_forge_nothing(tmp_path: Path) -> None:
    folder, forged = tmp_path / "folder", "a\ntext\t/etc/x\teA==\nname\t/etc\tb"
    folder.mkdir()
    (folder / forged.replace("/", "\u2215")).touch()
    (tmp_path / "link").symlink_to("x\nentries\tZm9yZ2Vk\ty\tz")
    found = survey(paths=[tmp_path / "link"], folders=[folder])
    assert found.names == {str(folder): [forged.replace("/", "\u2215")]}
    link = found.entry(tmp_path / "link")
    assert link and link.target == "x\nentries\tZm9yZ2Vk\ty\tz"
    assert list(found.entries) == [str(tmp_path / "link")] and not found.texts


def test_folders_that_hold_a_file(tmp_path: Path) -> None:
    for name in ("a b", "c/deeper", "d"):
        (tmp_path / name).mkdir(parents=True)
    for place in ("a b", "c/deeper"):
        (tmp_path / place / "manifest.json").touch()
    assert survey(holding={tmp_path: "manifest.json"}).holding == {str(tmp_path): ["a b"]}
