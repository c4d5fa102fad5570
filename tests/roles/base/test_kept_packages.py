"""packages.sh where the root file system was wiped, and what is kept for it: with stand-ins for apt-get and dpkg-query,
and the genuine scripts."""

import os
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from roles.base import boot
from roles.facts.seen import HostSurvey
from roles.managers import SYSTEMD, Supervisor
from roles.operations.packages import install_packages, pruned
from roles.paths import Paths
from tests.roles.declared import declared

TOOLS = {
    "apt-get": '[ $4 != check ] || exit 0\necho "$@" >>{folder}/asked; exit $(cat {folder}/apt-status)',
    "dpkg-query": """case $# in
  3) while read -r n v a; do printf 'ii  %s_%s_%s.deb\\n' "$n" "$v" "$a"; done <{folder}/installed;;
  *) while read -r n v a; do [ "$n" != "$4" ] || printf 'ii  %s\\n' "$v"; done <{folder}/installed;;
esac""",
}


class Root:
    def __init__(self, folder: Path) -> None:
        self.folder, self.paths = folder, Paths(root=PurePosixPath(folder / "data"))
        self.kept = folder / "data/packages"
        self.kept.mkdir(parents=True)
        (folder / "bin").mkdir()
        for name, code in TOOLS.items():
            (folder / "bin" / name).write_text(f"#!/bin/sh\n{code.format(folder=folder)}\n")
            (folder / "bin" / name).chmod(0o755)
        (folder / "apt-status").write_text("0")

    def has(self, installed: str, *files: str) -> None:
        (self.folder / "installed").write_text(installed)
        for file in files:
            (self.kept / file).touch()

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        return subprocess.run(["sh", "-c", script], env={"PATH": path}, capture_output=True, text=True, check=False)

    def installed_again(self) -> subprocess.CompletedProcess[str]:
        text = boot.texts(self.paths)[self.paths.supervisor / "packages.sh"]
        return self.run(text.replace("/var/log", str(self.folder)))

    def asked(self) -> list[str]:
        file = self.folder / "asked"
        return (
            [word.rpartition("/")[2] for word in file.read_text().split() if word.endswith(".deb")]
            if file.exists()
            else []
        )


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def test_what_is_missing_or_older_is_installed_from_its_files_alone(root: Root) -> None:
    files = ("here_1.0_all.deb", "gone_1%3a2.0_amd64.deb", "newer_1.0_amd64.deb", "older_2.0_amd64.deb")
    root.has("here 1.0 all\nnewer 1.1 amd64\nolder 1.9 amd64\n", *files)
    done = root.installed_again()
    assert done.returncode == 0, done.stderr
    assert root.asked() == ["gone_1%3a2.0_amd64.deb", "older_2.0_amd64.deb"]
    assert "Dir::Etc::SourceList=/dev/null" in (root.folder / "asked").read_text()


@pytest.mark.parametrize("files", [(), ("here_1%3a1.0_all.deb",)])
def test_where_nothing_is_missing_apt_is_not_started(root: Root, files: tuple[str, ...]) -> None:
    root.has("here 1:1.0 all\n", *files)
    assert root.installed_again().returncode == 0
    assert root.asked() == []


def test_a_failure_is_told_and_leaves_a_status(root: Root) -> None:
    root.has("", "gone_2.0_amd64.deb")
    (root.folder / "apt-status").write_text("100")
    done = root.installed_again()
    assert done.returncode == 1 and f"packages of {root.kept} could not be installed; sdfleet apply" in done.stderr


def test_files_are_kept_for_what_is_installed(root: Root) -> None:
    root.has(
        "same 1.0 all\nupdated 2.0 all\nby-hand 3.0 all\n",
        *("same_1.0_all.deb", "updated_1.0_all.deb", "updated_2.0_all.deb", "by-hand_2.0_all.deb", "gone_1.0_all.deb"),
    )
    done = root.run(pruned(root.paths.packages))
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in root.kept.iterdir()) == [
        *("by-hand_2.0_all.deb", "same_1.0_all.deb", "updated_2.0_all.deb")
    ]


def test_only_where_a_stop_may_wipe_them_packages_are_kept() -> None:
    manager = Supervisor(Paths(root=PurePosixPath("/workspace/sdfleet")))
    kept = declared(lambda: install_packages(["git"], HostSurvey(), manager))["Install packages"]
    assert kept[0] == "mkdir -p /workspace/sdfleet/packages"
    assert "-o Dir::Cache::Archives=/workspace/sdfleet/packages/" in kept[1]
    plain = declared(lambda: install_packages(["git"], HostSurvey(), SYSTEMD))["Install packages"]
    assert len(plain) == 1 and "Archives" not in plain[0]
