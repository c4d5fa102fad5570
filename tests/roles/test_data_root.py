"""Where the data root may lie: what is said of it, and what lets services pass to it."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

import pytest
from pyinfra.api.exceptions import DeployError
from testinfra import get_host

from deploy.manager_choice import chosen_manager
from inventory.load import check, load
from roles.base import boot, tasks, verify
from roles.base.config import Base
from roles.data_root import opening, to_open
from roles.facts.init import Init
from roles.facts.provider import Provider
from roles.facts.seen import Disk, Entry, HostSurvey
from roles.facts.supervisord import Serves
from roles.facts.survey import Survey
from roles.managers import Supervisor
from roles.paths import Paths
from roles.settings import SettingError
from tests.roles.declared import declared

FLEET = """\
[fleet]
name = "x"
data_root = "/srv/sdfleet"
[groups.rented]
data_root = "/workspace/sdfleet"
[hosts.a]
address = "203.0.113.1"
[hosts.b]
address = "203.0.113.2"
groups = ["webui", "rented"]
[hosts.c]
address = "203.0.113.3"
groups = ["webui", "rented"]
data_root = "/root/autodl-tmp/sdfleet"
"""
AUTODL = "file /etc/autodl-motd"


def _folder(mode: int) -> Entry:
    return Entry("d", "root", "root", mode)


def test_a_group_and_a_host_may_have_their_own(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(FLEET)
    found = {
        name: (str(host.paths.root), host.place("data_root"))
        for name, host in load(tmp_path / "fleet.toml").hosts.items()
    }
    assert found == {
        "a": ("/srv/sdfleet", "fleet.data_root"),
        "b": ("/workspace/sdfleet", "groups.rented.data_root"),
        "c": ("/root/autodl-tmp/sdfleet", "hosts.c.data_root"),
    }


def test_one_that_systemd_hides_is_noted_before_and_refused_on_such_a_host(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(FLEET)
    fleet = check(tmp_path / "fleet.toml")
    [note] = fleet.notes
    assert note.startswith("hosts.c.data_root: /root/autodl-tmp/sdfleet is refused by apply on a host with systemd")
    with pytest.raises(
        SettingError, match=r"^data_root: '/root/autodl-tmp/sdfleet' is hidden .* mkdir -p .* /srv/sdfleet"
    ):
        chosen_manager(fleet.hosts["c"], "systemd")
    assert chosen_manager(fleet.hosts["c"], "supervisor") == Supervisor(fleet.hosts["c"].paths)


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that every user reaches: pytest closes its own ones again whenever another session of it starts."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it becomes another user")
def test_services_pass_and_see_nothing_else(open_place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, disk, root = open_place / "home", open_place / "home/disk", open_place / "home/disk/sdfleet"
    root.mkdir(parents=True)
    home.chmod(0o700)
    (home / "link").symlink_to(root)
    for folder in (home, disk):
        (folder / ".token").write_text("secret")
        (folder / "tools").mkdir()
        (folder / "tools/x").touch()
    way = [PurePosixPath(folder) for folder in (home, disk)]

    def passes(place: Path, words: str = "ls -d") -> bool:
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *words.split(), str(place)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def left() -> list[PurePosixPath]:
        return to_open({folder: Path(folder).stat().st_mode for folder in way})

    def run() -> None:
        for folder in reversed(way):
            subprocess.run(["sh", "-ec", opening(folder, PurePosixPath(root))], check=True)

    assert not passes(root / ".") and left() == way[::-1], "the inner first, while the outer is closed"
    for _ in "ab":
        run()
        assert passes(root / ".") and passes(home / ".token") and not left()
        for folder in (home, disk):
            assert not passes(folder, "ls") and not passes(folder / ".token", "cat") and not passes(folder / "tools/x")
    assert [folder.stat().st_mode & 0o007 for folder in (home, disk)] == [1, 1]
    (home / "later").write_text("made after it was opened")
    run()
    assert (home / "later").stat().st_mode & 0o004, "an open folder is left alone"

    paths = Paths(root=PurePosixPath(root))
    monkeypatch.setattr(verify, "way", lambda root: way)
    monkeypatch.setattr(verify, "WEBUI", "nobody")
    check = partial(verify.test_services_see_nothing_beside_the_data_root, get_host("local://"), paths)
    check(Supervisor(paths))
    disk.chmod(0o777)
    assert left() == [way[1]], "another disk"
    with pytest.raises(AssertionError, match=f"{disk} is open to services, and {home} does not close it"):
        check(Supervisor(paths))
    run()
    check(Supervisor(paths))
    assert passes(root / ".") and not passes(disk, "ls")


def _declared(paths: Paths, seen: HostSurvey, *marks: str) -> dict[str, list[str]]:
    facts = {Survey: seen, Init: "supervisor", Serves: True, Provider: Provider().process(marks)}

    def declare() -> None:
        tasks.install(base=Base(), paths=paths, manager=Supervisor(paths), trains=False)

    return declared(declare, facts)


def test_the_plan_names_the_folders_that_are_opened() -> None:
    paths = Paths(root=PurePosixPath("/root/autodl-tmp/sdfleet"))

    def opened(*modes: int) -> list[str]:
        entries = {"/root": _folder(modes[0]), "/root/autodl-tmp": _folder(modes[1])}
        operations = _declared(paths, HostSurvey(entries))
        for folder in entries:
            name = f"Base | Let services pass through {folder}, and close what else is in it"
            assert operations.get(name, []) in ([], [opening(PurePosixPath(folder), paths.root)])
        return [name.split()[6].rstrip(",") for name in operations if "pass through" in name]

    assert opened(0o700, 0o755) == ["/root/autodl-tmp", "/root"], "the inner first, while the outer is closed"
    assert opened(0o701, 0o755) == ["/root/autodl-tmp"], "another disk below a folder that was opened before"
    assert opened(0o701, 0o711) == opened(0o755, 0o755) == []
    assert opened(0o700, 0o711) == ["/root"]
    text = boot.texts(paths)[paths.boot]
    commands = [opening(PurePosixPath(folder), paths.root) for folder in ("/root/autodl-tmp", "/root")]
    assert " &&\n".join(commands) in text, "each start opens it again"


@pytest.mark.parametrize(
    ("mark", "disk"),
    [
        (AUTODL, "/root/autodl-tmp"),
        ("variable AutoDLContainerUUID", "/root/autodl-tmp"),
        ("file /etc/rp_environment", "/workspace"),
        ("variable RUNPOD_POD_ID", "/workspace"),
    ],
)
@pytest.mark.parametrize(
    ("root", "mount", "free_gb", "told"),
    [
        ("/srv/sdfleet", "/", 50, True),
        ("/srv/sdfleet", "/", 3, True),
        ("{disk}/sdfleet", "{disk}", 50, False),
        ("/data/sdfleet", "/data", 50, False),
    ],
)
def test_a_rented_containers_data_disk_is_proposed(
    mark: str, disk: str, root: str, mount: str, free_gb: int, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    root, mount = root.format(disk=disk), mount.format(disk=disk)
    paths = Paths(root=PurePosixPath(root))
    seen = HostSurvey(disks={root: Disk(mount, free_gb * 10**9), disk: Disk(disk, 90 * 10**9)})
    line = f'data_root = "{disk}/sdfleet"'
    if free_gb < 20:
        with pytest.raises(SettingError, match=f"set {line}"):
            _declared(paths, seen, mark)
    else:
        _declared(paths, seen, mark)
    assert any(line in record.message for record in caplog.records) == told
    seen.names = {str(paths.envs): ["0123456789abcdef"]}
    caplog.clear()
    _declared(paths, seen, mark)
    assert not caplog.records, "what is in use is not moved by a line"


def test_a_container_without_a_data_disk_gets_no_proposal() -> None:
    paths = Paths(root=PurePosixPath("/srv/sdfleet"))
    seen = HostSurvey()
    seen.disks = {"/srv/sdfleet": Disk("/", 3 * 10**9), "/root/autodl-tmp": Disk("/", 3 * 10**9)}
    with pytest.raises((SettingError, DeployError), match="point data_root at a larger disk"):
        _declared(paths, seen, AUTODL)
