"""apt and dpkg on a host whose own upgrades may run just then."""

from pathlib import Path

from roles.cache.tasks import nginx_installed
from roles.facts.seen import HostSurvey
from roles.operations.packages import APT, FINISH_DPKG

ROLES = Path(__file__).resolve().parents[2] / "roles"


def test_dpkg_is_finished_only_after_apt_has_waited_for_its_lock() -> None:
    assert FINISH_DPKG.index("apt-get") < FINISH_DPKG.index("dpkg --configure")
    spelled = [path.name for path in ROLES.rglob("*.py") if "dpkg --configure" in path.read_text()]
    assert spelled == ["packages.py"], "dpkg itself waits for no lock: take FINISH_DPKG"


def test_the_cache_waits_for_the_hosts_own_upgrades() -> None:
    first, update, install = nginx_installed._inner(seen=HostSurvey())
    assert first == FINISH_DPKG
    assert update.startswith(APT) and f"{APT} install" in install
