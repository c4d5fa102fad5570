"""systemd units that are wanted to run."""

import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.facts.seen import HostSurvey
from roles.operations.files import Commands, write


@operation()
def running_units(units: Mapping[PurePosixPath, str], seen: HostSurvey, once: bool = False) -> Commands:
    """
    Write unit files, and (re)start and enable those that are not as wanted.

    + units: text of each unit file
    + seen: a survey that looked at the files and the units
    + once: the units do their work and end; they are written and not started
    """
    wrong = [path for path, text in units.items() if seen.text(path) != text or seen.unit(path.name).stale]
    idle = [path for path in units if not (seen.unit(path.name).active and seen.unit(path.name).enabled)]
    late = [] if once else [path for path in units if path in wrong or path in idle]
    if not wrong and not late:
        host.noop("all are as wanted")
        return
    for path in wrong:
        if seen.text(path) != units[path]:
            yield from write(path, units[path], seen)
    yield "systemctl daemon-reload"
    for path in late:
        name = shlex.quote(path.name)
        yield f"systemctl enable --quiet {name} && systemctl reset-failed {name}; systemctl restart {name}"
