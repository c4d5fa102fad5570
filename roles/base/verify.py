"""What must hold on every host."""

import re

import pytest
from testinfra.host import Host

from roles.accounts import HOMES, WEBUI
from roles.base.config import Base
from roles.base.tasks import wanted_folders
from roles.base.tf_logs import LINK, PROVIDER
from roles.data_root import way
from roles.managers import SYSTEMD, Manager
from roles.paths import ETC, Paths
from roles.programs import sha256

LITTLE_GB = 1.0
"""Below this services may fail to write their state."""


def test_packages_are_installed(host: Host, base: Base) -> None:
    shown = "${db:Status-Abbrev}|${Package}|${Package}:${Architecture}, ${Provides}\\n"
    listed = host.check_output(f"dpkg-query -W -f '{shown}'")
    installed = [line.split("|") for line in listed.splitlines() if line[1:2] == "i"]
    there = {name for _, name, _ in installed}
    there |= {part.split()[0] for _, _, provides in installed for part in provides.split(", ") if part}
    missing = [name for name in base.packages if name not in there]
    assert not missing, f"not installed: {', '.join(missing)}"


@pytest.mark.parametrize("user", HOMES)
def test_service_user_cannot_log_in(host: Host, paths: Paths, user: str) -> None:
    found = host.user(user)
    assert found.exists, f"there is no user {user}"
    assert found.shell == "/usr/sbin/nologin", f"{user} has the shell {found.shell}"
    assert found.home == str(paths.data(HOMES[user])), f"{user}'s home is {found.home}"


def test_folders_have_their_owners(host: Host, paths: Paths, manager: Manager) -> None:
    folders = wanted_folders(paths, manager)
    found = host.run("stat -c '%n %F %U %G %a' -- " + " ".join(str(folder.path) for folder in folders)).stdout
    lines = set(found.splitlines())
    wrong = [
        str(folder.path)
        for folder in folders
        if f"{folder.path} directory {folder.owner} {folder.group} {folder.mode:o}" not in lines
    ]
    assert not wrong, f"missing, or with another owner or mode: {', '.join(wrong)}"


def test_runs_are_in_the_tensorboard_of_autodl(
    host: Host, manager: Manager, provider: str, roles: tuple[str, ...], paths: Paths
) -> None:
    if manager == SYSTEMD or provider != PROVIDER:
        pytest.skip("it is no container of AutoDL's")
    target = host.run("readlink %s", str(LINK)).stdout.strip()
    wanted = str(paths.runs) if "trainer" in roles else ""
    assert target == wanted, f"{LINK} leads to {target or 'nothing'}, not to {wanted or 'nothing'}"


def test_services_reach_the_data_root(host: Host, paths: Paths) -> None:
    for folder in (*way(paths.root), paths.root):
        passes = host.run("runuser -u %s -- test -x %s", WEBUI, str(folder)).rc == 0
        assert passes, f"{folder} is closed to services, whose files are in {paths.root}"


def test_services_see_nothing_beside_the_data_root(host: Host, paths: Paths, manager: Manager) -> None:
    if manager == SYSTEMD:
        pytest.skip("it opens no folder on the way to the data root")
    unlisted = ""
    for folder in way(paths.root):
        lists = host.run('runuser -u %s -- sh -c \'[ -r "$0" ] || [ -w "$0" ]\' %s', WEBUI, str(folder)).rc == 0
        assert not (unlisted and lists), f"{folder} is open to services, and {unlisted} does not close it any more"
        unlisted = unlisted or ("" if lists else str(folder))


def test_secrets_are_closed_to_services(host: Host) -> None:
    assert host.run("runuser -u %s -- test -r %s", WEBUI, str(ETC)).rc != 0, f"{WEBUI} can read {ETC}"


def test_programs_are_those_of_sdfleet(host: Host, paths: Paths) -> None:
    file = host.file(str(paths.onhost))
    assert file.exists, f"{paths.onhost} is missing"
    assert file.sha256sum == sha256(), f"{paths.onhost} is another version, or was changed by hand"


def test_uv_answers(host: Host, base: Base, paths: Paths) -> None:
    answer = host.run("%s --version", str(paths.uv))
    assert answer.rc == 0, f"{paths.uv} does not run: {answer.stderr.strip()}"
    assert re.match(rf"uv {re.escape(base.uv_version)}\b", answer.stdout), (
        f"{answer.stdout.strip()} is installed, not {base.uv_version}"
    )


def test_disk_has_room(host: Host, paths: Paths) -> None:
    free = int(host.check_output("df --output=avail -B1 %s", str(paths.root)).split()[-1]) / 10**9
    assert free >= LITTLE_GB, f"{paths.root} has {free:.1f} GB left; remove what is not needed, or enlarge the disk"
