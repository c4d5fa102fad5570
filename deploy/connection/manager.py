"""A host's service manager, over its connection."""

from deploy.connection.ssh import HostError, Remote
from deploy.onhost import list_active, manage


def change(remote: Remote, verb: str, *units: str, now: bool = False, wait: bool = True, timeout: float = 60) -> None:
    """Do `verb` with units of a host: start, stop, enable or disable; with `now` the latter start and stop them too.

    + wait: until what is started is ready
    Raises HostError.
    """
    label = f"`{verb} {' '.join(units)}`"
    if why := remote.call(manage, timeout=timeout, label=label, verb=verb, units=list(units), now=now, wait=wait):
        raise HostError(f"cannot {verb} {', '.join(units)}: {why}", host=remote.name)


def active_runs(remote: Remote) -> list[str]:
    """The units of the host's training runs that are running or queued. Raises HostError."""
    answer = remote.call(list_active, label="listing the training runs")
    if why := answer["failed"]:
        raise HostError(f"cannot list its training runs: {why}", host=remote.name)
    runs: list[str] = answer["runs"]
    return runs
