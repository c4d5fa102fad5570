"""sdfleet's own programs on a host: an archive whose name tells its content, and a link that leads to it."""

import shlex
from collections.abc import Iterable

from pyinfra.api.operation import operation
from pyinfra.context import host
from pyinfra.operations import server

from roles.facts.seen import HostSurvey, quoted
from roles.operations.files import Commands, put
from roles.paths import Paths
from roles.programs import installed, sha256, version


@operation()
def own_programs(paths: Paths, seen: HostSurvey) -> Commands:
    """
    Put the archive of all programs; those that run go on, and what they run is never half new.

    + paths: the host's paths
    + seen: a survey that looked at `paths.onhost` and its sha256
    """
    link, entry = paths.onhost, seen.entry(paths.onhost)
    if entry and entry.target == version() and seen.digest(link) == sha256():
        host.noop("they are there")
        return
    new = link.with_name(f".{link.name}.new")
    yield put(link.with_name(version()), installed())
    # The archive before stays: a program that starts at this moment still reads it.
    kept = [version(), *([entry.target] if entry else [])]
    others = " ".join(f"! -name {shlex.quote(name)}" for name in kept)
    yield (
        f"ln -sfn {version()} {quoted([new])} && mv -fT {quoted([new, link])} && "
        f"find {quoted([link.parent])} -maxdepth 1 -name 'onhost-*.pyz' {others} -delete"
    )


def remove_old_programs(names: Iterable[str], paths: Paths, seen: HostSurvey) -> None:
    """Remove programs that an older sdfleet put, one file each, once nothing on the host names them.

    + seen: a survey that listed `paths.old_programs`
    """
    there = seen.names.get(str(paths.old_programs), [])
    gone = [paths.old_programs / name for name in (f"{name}.py" for name in names) if name in there]
    if gone:
        folder = quoted([paths.old_programs])
        command = f"rm -f {quoted(gone)} && rmdir --ignore-fail-on-non-empty {folder}"
        server.shell(name="Remove programs of an older sdfleet", commands=[command])
