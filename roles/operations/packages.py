"""Distribution packages."""

from collections.abc import Sequence

from pyinfra.operations import apt, server, systemd

from roles.facts.seen import HostSurvey

LOCK_SECONDS = 600
"""How long apt waits for another apt: a fresh cloud host runs its own upgrades for minutes after boot."""
WAITING = f"-o DPkg::Lock::Timeout={LOCK_SECONDS}"
LIST_RESTARTS = {"NEEDRESTART_MODE": "l"}
"""needrestart only lists what should be restarted: it would take services away in the middle of an apply."""

APT = f"DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -q -y {WAITING} -o Dpkg::Options::=--force-confold"
# dpkg waits for no lock, but apt-get does, whatever it then says of the state of things.
FINISH_DPKG = f"{APT} check >/dev/null 2>&1; DEBIAN_FRONTEND=noninteractive dpkg --configure -a"
"""Finishes what an interrupted dpkg left half done, without which apt refuses everything; else it does nothing."""


def install_packages(names: Sequence[str], seen: HostSurvey) -> None:
    """Install distribution packages that are missing; what is installed, or provided by another, is left as it is.

    + seen: a survey that looked at them
    """
    if missing := [name for name in names if name not in seen.packages]:
        server.shell(name="Update apt's package lists", commands=[FINISH_DPKG, f"{APT} update"])
        apt.packages(
            name="Install packages",
            packages=missing,
            no_recommends=True,
            extra_install_args=WAITING,
            _env=LIST_RESTARTS,
        )


def install_nginx(names: Sequence[str], seen: HostSurvey) -> None:
    """Install nginx and further packages. Its own unit stays masked: it would open port 80 with a welcome page.

    + names: all packages, nginx among them
    + seen: a survey that looked at them
    """
    if "nginx" not in seen.packages:
        # Masked alone: a web server that somebody installed by hand goes on.
        systemd.service(
            name="Mask nginx's own unit", service="nginx.service", running=None, enabled=None, command="mask"
        )
    install_packages(names, seen)
