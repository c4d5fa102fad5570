"""Which checks run on which hosts, and what a person is told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.verification import verify
from inventory.errors import DRIFT, FAILED, OK
from inventory.load import load
from inventory.model import ROLES, HostSettings

pytestmark = pytest.mark.slow

TREE = Path(__file__).resolve().parents[2]
CHECK = """
from pathlib import Path
def test_place(host, name, paths):
    assert host.backend.NAME == "local"
    with Path({seen!r}).open("a") as out:
        print({role!r}, name, paths.root, file=out)
"""
BAD = """
def test_port_is_open(webui):
    assert webui.port == 1, f"nothing listens on {webui.port}"
"""
READS = """
def test_command(host):
    host.check_output("ls /no/such/folder")
def test_file(host):
    host.file("/no/such/file").content_string
def test_folder(host):
    host.file("/no/such/folder").listdir()
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree whose checks note where they ran; the package under test is still ours."""
    for role in ("base", "webui", "trainer"):
        file = tmp_path / "tree/roles" / role / "verify.py"
        file.parent.mkdir(parents=True)
        file.write_text(CHECK.format(seen=str(tmp_path / "seen"), role=role))
    monkeypatch.setattr(verify, "TREE", tmp_path / "tree")
    monkeypatch.setenv("PYTHONPATH", str(TREE))
    return tmp_path


def fleet(folder: Path) -> list[HostSettings]:
    file = folder / "fleet.toml"
    file.write_text(
        '[fleet]\nname = "a"\ndata_root = "/data"\n'
        '[hosts.one]\naddress = "local"\ngroups = ["webui"]\n[hosts.two]\naddress = "local"\ngroups = ["train"]\n'
    )
    return list(load(file).hosts.values())


def test_a_role_is_checked_only_where_it_is_played(tree: Path) -> None:
    assert verify.run(fleet(tree), ROLES) == OK
    seen = sorted((tree / "seen").read_text().splitlines())
    assert seen == ["base one /data", "base two /data", "trainer two /data", "webui one /data"]


def test_three_hosts_are_checked_side_by_side(tree: Path) -> None:
    one, two = fleet(tree)
    assert verify.run([one, two, one.model_copy(update={"name": "three"})], ["base"]) == OK
    assert sorted((tree / "seen").read_text().splitlines()) == ["base one /data", "base three /data", "base two /data"]


def test_drift_is_exit_code_3_with_a_sentence_and_reports(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "tree/roles/webui/verify.py").write_text(BAD)
    assert verify.run(fleet(tree), ROLES, tree / "out.xml", tree / "out.html") == DRIFT
    shown = capsys.readouterr().out
    assert "one drift webui: nothing listens on 7860 (check: port is open)" in shown
    assert "Next: sdfleet apply --limit one" in shown
    assert "test_port_is_open[one]" in (tree / "out.xml").read_text()
    assert "nothing listens on 7860" in (tree / "out.html").read_text()


def test_what_is_missing_is_told_by_the_command_that_looked(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "tree/roles/webui/verify.py").write_text(READS)
    assert verify.run(fleet(tree), ["webui"]) == DRIFT
    shown = " ".join(capsys.readouterr().out.split())
    assert "CommandResult" not in shown
    for command in ("ls /no/such/folder", "cat -- /no/such/file", "ls -1 -q -- /no/such/folder"):
        assert f"`{command}` ended with status" in shown


def test_unreachable_host_is_exit_code_1_and_the_others_are_checked(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = fleet(tree)
    gone = one.model_copy(update={"connection": one.connection.model_copy(update={"address": "127.0.0.1", "port": 9})})
    assert verify.run([gone, two], ROLES) == FAILED
    assert "one (root@127.0.0.1:9): cannot be reached" in " ".join(capsys.readouterr().err.split())
    assert "base two /data" in (tree / "seen").read_text()


def test_checks_of_other_roles_are_left_out(tree: Path) -> None:
    assert verify.run(fleet(tree), ["trainer"]) == OK
    assert (tree / "seen").read_text() == "trainer two /data\n"


@pytest.mark.parametrize("plugin", [[], ["-p", "deploy.verification.plugin"]])
def test_checks_never_run_without_hosts(plugin: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, "roles/trainer/verify.py"],
        cwd=TREE,
        env={**os.environ, "PYTHONPATH": str(TREE)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "run `sdfleet verify`" in done.stderr
