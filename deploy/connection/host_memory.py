"""What this machine remembers of rented hosts: when each was seen last, whose it is, and when sdfleet stopped it.

A provider may delete a host that was stopped for some days; a host that is off cannot tell. Losing this only loses the
warning.
"""

import datetime
import time
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from deploy.connection.remembered import Remembered
from inventory.files import state_folder
from inventory.model import HostSettings
from roles.onhost.provider import RELEASED_DAYS, STOP
from roles.rental.config import Rental
from roles.said import say

DAY = 86_400
LARGEST = 10_000


@dataclass(frozen=True)
class Known:
    """What is remembered of a host; times in s since the epoch, 0 for never."""

    seen: float = 0.0
    """When it last answered."""
    provider: str = ""
    stopped: float = 0.0
    """When sdfleet stopped it, if it has not been seen since."""


def known(host: HostSettings) -> Known:
    """What is remembered; nothing if that is damaged."""
    try:
        told = cast(Any, _file(host).read(LARGEST))
        its = Known(float(told["seen"]), told["provider"], float(told["stopped"]))
        return its if _possible(its) else Known()
    except (ValueError, LookupError, TypeError, OverflowError):
        return Known()


def _possible(its: Known) -> bool:
    """Whether its times have passed, and its provider is one that is recognised."""
    now = time.time()
    return 0 <= its.seen <= now and 0 <= its.stopped <= now and its.provider in ("", *STOP)


def seen(host: HostSettings, at: float, provider: str | None = None) -> None:
    """The host answered at that time. Only rented ones are remembered.

    + provider: whose it is; None if it was not asked
    """
    before = known(host)
    named = before.provider if provider is None else provider
    if named or before.seen or host.rental != Rental():
        _file(host).write(asdict(Known(at, named, before.stopped if before.stopped > at else 0.0)))


def stopped(host: HostSettings, now: float) -> None:
    """sdfleet stops the host."""
    _file(host).write(asdict(replace(known(host), seen=now, stopped=now)))


def not_stopped(host: HostSettings) -> None:
    """It did not stop after all."""
    _file(host).write(asdict(replace(known(host), stopped=0.0)))


def warning(host: HostSettings, now: float) -> str:
    """What to know of a rented host that cannot be reached; empty if nothing is."""
    its = known(host)
    days = host.rental.released_days or RELEASED_DAYS.get(its.provider)
    since = its.stopped or its.seen
    if not since or (not its.stopped and (now - since < DAY or not days)):
        return ""
    was = f"{host.name} was {'stopped by sdfleet' if its.stopped else 'last seen'} {_ago(now - since)}"
    if not days:
        return f"{was}; start it on the provider's page"
    rule = f"{its.provider or 'its provider'} releases instances {days} days after a stop"
    until = since + days * DAY
    if now >= until:
        return f"{was}; {rule}, so it may be gone since {_date(until)}"
    return f"{was}; {rule}: start it by {_date(until)}, or copy its data"


def stopped_by_us(host: HostSettings, now: float) -> str:
    """Why a host does not answer that sdfleet stopped; empty if it did not."""
    at = known(host).stopped
    return say("sdfleet stopped it {ago}; start it on the provider's page", ago=_ago(now - at)) if at else ""


def _ago(seconds: float) -> str:
    days = int(seconds // DAY)
    return say("today") if not days else say("1 day ago") if days == 1 else say("{days} days ago", days=days)


def _date(at: float) -> str:
    return datetime.datetime.fromtimestamp(at).strftime("%Y-%m-%d")


def _file(host: HostSettings) -> Remembered:
    """One for the place at which it is reached: a host that was made anew elsewhere is another one."""
    return Remembered(state_folder() / "hosts", host.name, host.connection.address, host.connection.port)
