"""Distribution packages."""

import shlex
from collections.abc import Sequence

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.facts.seen import HostSurvey
from roles.operations.files import Commands

LOCK_SECONDS = 600
"""How long apt waits for another apt: a fresh cloud host runs its own upgrades for minutes after boot."""

APT = (
    "DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -q -y"
    f" -o DPkg::Lock::Timeout={LOCK_SECONDS} -o Dpkg::Options::=--force-confold"
)
# dpkg waits for no lock, but apt-get does, whatever it then says of the state of things.
FINISH_DPKG = f"{APT} check >/dev/null 2>&1; DEBIAN_FRONTEND=noninteractive dpkg --configure -a"
"""Finishes what an interrupted dpkg left half done, without which apt refuses everything; else it does nothing."""


@operation()
def apt_packages(names: Sequence[str], seen: HostSurvey) -> Commands:
    """
    Install distribution packages that are missing; what is installed is not upgraded.

    + names: package names
    + seen: a survey that looked at them
    """
    missing = [name for name in names if name not in seen.packages]
    if not missing:
        host.noop("all packages are installed")
        return
    yield FINISH_DPKG
    yield f"{APT} update"
    yield f"{APT} install --no-install-recommends {' '.join(map(shlex.quote, missing))}"
