"""Distribution packages."""

import shlex
from collections.abc import Sequence

from pyinfra.operations import server, systemd

from roles.facts.seen import HostSurvey
from roles.managers import SYSTEMD, Manager

LOCK_SECONDS = 600
"""How long apt waits for another apt: a fresh cloud host runs its own upgrades for minutes after boot."""
PAUSE_SECONDS = 5
# needrestart only lists what should be restarted: it would ask (Ubuntu 22.04), or take services away in the middle of
# an apply (24.04). LC_ALL: `apt` reads a message.
ENVIRONMENT = "DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l LC_ALL=C"
APT = f"{ENVIRONMENT} apt-get -q -y -o DPkg::Lock::Timeout={LOCK_SECONDS} -o Dpkg::Options::=--force-confold"
# dpkg waits for no lock, but apt-get does, whatever it then says of the state of things.
FINISH_DPKG = f"{APT} check >/dev/null 2>&1; DEBIAN_FRONTEND=noninteractive dpkg --configure -a"
"""Finishes what an interrupted dpkg left half done, without which apt refuses everything; else it does nothing."""


def apt(arguments: str) -> str:
    """The shell command that runs apt-get, which waits for any other apt, up to LOCK_SECONDS.

    apt-get itself waits for dpkg's locks alone. On those of the package lists and of downloads, which a fresh cloud
    host's first `apt-get update` and unattended-upgrades hold for minutes, it fails at once. They are neither files
    that flock knows nor seen in /proc/locks below an overlay, so apt-get is run again as long as it names them.
    """
    busy = 'grep -qE "Could not get lock /var/(lib|cache)/apt/" $log'
    again = f"[ $((tries += 1)) -le {LOCK_SECONDS // PAUSE_SECONDS} ]"
    # A file, because a daemon that a package starts could hold a pipe open for ever.
    return (
        f"(log=$(mktemp) && tries=0 || exit; while {APT} {arguments} >$log 2>&1; code=$?; {busy} && {again}; "
        f"do sleep {PAUSE_SECONDS}; done; [ $code = 0 ] || exec >&2; cat $log; rm -f $log; exit $code)"
    )


def install_packages(names: Sequence[str], seen: HostSurvey) -> None:
    """Install distribution packages that are missing; what is installed, or provided by another, is left as it is.

    + seen: a survey that looked at them
    """
    if missing := [name for name in names if name not in seen.packages]:
        server.shell(name="Update apt's package lists", commands=[FINISH_DPKG, apt("update")])
        install = apt(f"install --no-install-recommends {shlex.join(missing)}")
        server.shell(name="Install packages", commands=[install])


def install_nginx(names: Sequence[str], seen: HostSurvey, manager: Manager) -> None:
    """Install nginx and further packages. Its own unit stays masked: it would open port 80 with a welcome page.

    + names: all packages, nginx among them
    + seen: a survey that looked at them
    """
    # Without an init there is no runlevel, and invoke-rc.d starts nothing.
    if "nginx" not in seen.packages and manager == SYSTEMD:
        # Masked alone: a web server that somebody installed by hand goes on.
        systemd.service(
            name="Mask nginx's own unit", service="nginx.service", running=None, enabled=None, command="mask"
        )
    install_packages(names, seen)
