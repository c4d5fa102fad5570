"""apt and dpkg on a host whose own upgrades may run just then."""

from pathlib import Path

from pyinfra.facts.deb import DebPackages
from pyinfra.facts.systemd import SystemdStatus

from roles.facts.seen import HostSurvey
from roles.operations.packages import APT, FINISH_DPKG, LOCK_SECONDS, install_nginx, install_packages
from tests.roles.declared import declared

ROLES = Path(__file__).resolve().parents[2] / "roles"
READ, INSTALL = "Update apt's package lists", "Install packages"


def test_dpkg_is_finished_only_after_apt_has_waited_for_its_lock() -> None:
    assert FINISH_DPKG.index("apt-get") < FINISH_DPKG.index("dpkg --configure")
    spelled = [path.name for path in ROLES.rglob("*.py") if "dpkg --configure" in path.read_text()]
    assert spelled == ["packages.py"], "dpkg itself waits for no lock: take FINISH_DPKG"


def test_only_what_is_missing_is_installed_and_it_waits_for_the_hosts_own_upgrades() -> None:
    seen = HostSurvey(packages={"curl", "libglib2.0-0"})
    wanted = ["curl", "git", "libglib2.0-0"]
    # dpkg does not list what is merely provided by another package.
    found = declared(lambda: install_packages(wanted, seen), {DebPackages: {"curl": {"8"}, "libglib2.0-0t64": {"2"}}})
    assert found[READ] == [FINISH_DPKG, f"{APT} update"]
    [command] = found[INSTALL]
    assert command.endswith(" git") and "curl" not in command and "libglib" not in command
    assert f"DPkg::Lock::Timeout={LOCK_SECONDS}" in command and "--no-install-recommends" in command
    assert "--force-confold" in command and "DEBIAN_FRONTEND=noninteractive" in command


def test_nothing_is_read_or_asked_where_all_is_installed() -> None:
    assert declared(lambda: install_packages(["curl"], HostSurvey(packages={"curl"}))) == {}
    assert declared(lambda: install_nginx(["nginx"], HostSurvey(packages={"nginx"}))) == {}


def test_nginx_never_opens_port_80_by_itself() -> None:
    facts = {DebPackages: {}, SystemdStatus: {"nginx.service": False}}
    found = declared(lambda: install_nginx(["nginx", "openssl"], HostSurvey()), facts)
    assert next(iter(found.values())) == ["systemctl mask nginx.service"]
    assert list(found)[1:] == [READ, INSTALL]
    assert found[INSTALL][0].endswith(" nginx openssl")
