"""The folder of sdfleet's own settings and secrets on a host."""

import shlex

from pyinfra.operations import server

from roles.facts.seen import HostSurvey
from roles.managers import Manager
from roles.operations.files import folders
from roles.paths import ETC, Folder


def own_settings(manager: Manager, seen: HostSurvey) -> None:
    """Make ETC; where a stop may wipe the root file system, it is a link to a folder on the data disk.

    + manager: the host's service manager
    + seen: a survey that looked at ETC and `manager.etc`
    """
    folders(name=f"Make {ETC}", wanted=[Folder(manager.etc, mode=0o700)], seen=seen)
    entry = seen.entry(ETC)
    if manager.etc == ETC or (entry and (entry.kind, entry.target) == ("l", str(manager.etc))):
        return
    kept = shlex.quote(str(manager.etc))
    moved = f"cp -a {ETC}/. {kept}/ && rm -r {ETC}"  # by an older sdfleet
    moves = [moved] if entry and entry.kind == "d" else []
    server.shell(name=f"Keep {ETC} on the data disk", commands=[*moves, f"ln -sfn {kept} {ETC}"])
