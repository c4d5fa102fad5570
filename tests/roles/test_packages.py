"""apt and dpkg on a host whose own upgrades may run just then."""

import os
import subprocess
from pathlib import Path

import pytest
from pyinfra.facts.systemd import SystemdStatus

from roles.facts.seen import HostSurvey
from roles.managers import SYSTEMD, Supervisor
from roles.operations.packages import APT, FINISH_DPKG, LOCK_SECONDS, apt, install_nginx, install_packages
from roles.paths import Paths
from tests.roles.declared import declared

ROLES = Path(__file__).resolve().parents[2] / "roles"
READ, INSTALL = "Update apt's package lists", "Install packages"


def test_dpkg_is_finished_only_after_apt_has_waited_for_its_lock() -> None:
    assert FINISH_DPKG.index("apt-get") < FINISH_DPKG.index("dpkg --configure")
    spelled = [path.name for path in ROLES.rglob("*.py") if "dpkg --configure" in path.read_text()]
    assert spelled == ["packages.py"], "dpkg itself waits for no lock: take FINISH_DPKG"


def test_only_what_is_missing_is_installed_and_it_waits_for_the_hosts_own_upgrades() -> None:
    seen = HostSurvey(packages={"curl", "libglib2.0-0"})
    found = declared(lambda: install_packages(["curl", "git", "libglib2.0-0"], seen))
    assert found[READ] == [FINISH_DPKG, apt("update")]
    assert found[INSTALL] == [apt("install --no-install-recommends git")]
    assert f"DPkg::Lock::Timeout={LOCK_SECONDS}" in APT and "--force-confold" in APT


def test_neither_debconf_nor_needrestart_asks_or_restarts_anything(tmp_path: Path) -> None:
    said = run_apt(tmp_path, "env | grep -E '^(DEBIAN_FRONTEND|NEEDRESTART_MODE)=' | sort").stdout
    assert said.split() == ["DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_MODE=l"]


@pytest.mark.parametrize("lock", ["/var/lib/apt/lists/lock", "/var/cache/apt/archives/lock"])
def test_apt_waits_for_the_locks_for_which_apt_get_does_not(tmp_path: Path, lock: str) -> None:
    busy = f"echo 'E: Could not get lock {lock}. It is held by process 7 (apt-get)' >&2; exit 100"
    done = run_apt(tmp_path, f"echo x >>{tmp_path}/tries; [ $(wc -l <{tmp_path}/tries) = 3 ] || {{ {busy}; }}; echo ok")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
    assert len((tmp_path / "pauses").read_text().splitlines()) == 2


def test_apt_waits_for_them_no_longer_than_for_the_others(tmp_path: Path) -> None:
    done = run_apt(tmp_path, "echo 'E: Could not get lock /var/lib/apt/lists/lock.' >&2; exit 100")
    assert done.returncode == 100 and "Could not get lock" in done.stderr
    assert sum(map(float, (tmp_path / "pauses").read_text().split())) == LOCK_SECONDS


@pytest.mark.parametrize("says", ["E: Unable to locate package nope", "E: Could not get lock /var/lib/dpkg/lock."])
def test_any_other_failure_of_apt_is_told_at_once(tmp_path: Path, says: str) -> None:
    done = run_apt(tmp_path, f"echo '{says}' >&2; exit 100")
    assert (done.returncode, done.stderr) == (100, f"{says}\n")
    assert not (tmp_path / "pauses").exists()


def run_apt(folder: Path, apt_get: str) -> subprocess.CompletedProcess[str]:
    """`apt("update")` with this shell script as apt-get; its pauses are counted instead of slept."""
    programs = folder / "bin"
    programs.mkdir()
    for name, text in (("apt-get", apt_get), ("sleep", f"echo $1 >>{folder}/pauses")):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    path = {"PATH": f"{programs}:{os.environ['PATH']}"}
    return subprocess.run(["sh", "-c", apt("update")], env=path, capture_output=True, text=True)


def test_nothing_is_read_or_asked_where_all_is_installed() -> None:
    assert declared(lambda: install_packages(["curl"], HostSurvey(packages={"curl"}))) == {}
    assert declared(lambda: install_nginx(["nginx"], HostSurvey(packages={"nginx"}), SYSTEMD)) == {}


def test_nginx_never_opens_port_80_by_itself() -> None:
    facts = {SystemdStatus: {"nginx.service": False}}
    found = declared(lambda: install_nginx(["nginx", "openssl"], HostSurvey(), SYSTEMD), facts)
    assert next(iter(found.values())) == ["systemctl mask nginx.service"]
    assert list(found)[1:] == [READ, INSTALL]
    assert found[INSTALL] == [apt("install --no-install-recommends nginx openssl")]


def test_where_no_init_would_start_it_nothing_is_masked() -> None:
    found = declared(lambda: install_nginx(["nginx"], HostSurvey(), Supervisor(Paths())))
    assert list(found) == [READ, INSTALL]
