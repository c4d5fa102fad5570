"""System users that services run as."""

import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.facts.seen import HostSurvey
from roles.operations.files import Commands


@operation()
def system_users(homes: Mapping[str, PurePosixPath], seen: HostSurvey) -> Commands:
    """
    Create system users without a login, each with a group of its own name.

    + homes: user -> home, which is not created
    + seen: a survey that looked at the users
    """
    missing = {user: home for user, home in homes.items() if user not in seen.users}
    moved = {user: home for user, home in homes.items() if user in seen.users and seen.users[user] != str(home)}
    if not missing and not moved:
        host.noop("all users exist")
    for user, home in missing.items():
        yield f"useradd --system --user-group --no-create-home --shell /usr/sbin/nologin --home-dir {_q(home)} {user}"
    for user, home in moved.items():
        old = seen.users[user]
        yield f"usermod --home {_q(home)} {user} || {{ status=$?; {_if_in_use(user, old)}; exit $status; }}"


IN_USE = 8
"""usermod's status for a user who runs something (usermod(8))."""


def _if_in_use(user: str, old: str) -> str:
    """Shell command that says, if usermod's `$status` is that, what a changed data root means."""
    said = (
        f"{user} still runs services from {old}: fleet.data_root was changed on a host in use. Set it back; or stop "
        "them there (systemctl stop 'sdfleet-*' 'lora-train@*'), move what you want to keep, and apply again."
    )
    return f"[ $status -ne {IN_USE} ] || echo {shlex.quote(said)} >&2"


def _q(path: PurePosixPath) -> str:
    return shlex.quote(str(path))
