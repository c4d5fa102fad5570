"""`sdfleet plan`, `apply` and `drift`: compare hosts with fleet.toml, and bring them there."""

import time
from collections.abc import Sequence
from pathlib import Path

from deploy.documents import Document
from deploy.engine import client
from deploy.engine.events import Request
from deploy.engine.view import EngineView, together
from deploy.locks import lock
from inventory.errors import DRIFT, FAILED, OK
from inventory.load import load
from inventory.model import Fleet


def plan(file: Path, limit: Sequence[str], role: Sequence[str], diff: bool, verbose: bool, as_json: bool) -> int:
    """Print what apply would change. Returns the exit code, as the others do. Raises ConfigError."""
    fleet = load(file)
    request = _request(fleet, limit, role, apply=False, diff=diff)
    view = client.run(fleet, request, "Next: sdfleet apply", verbose, "Next: sdfleet verify")
    return _told("plan", [view], FAILED if view.failed else OK, as_json)


def apply(file: Path, limit: Sequence[str], role: Sequence[str], diff: bool, verbose: bool, as_json: bool) -> int:
    """Bring hosts to what the file describes."""
    fleet = load(file)
    request = _request(fleet, limit, role, apply=True, diff=diff)
    # If the cache fails, the hosts use the mirrors behind it; the failure is reported again below.
    first = client.cache_first(fleet, request, verbose)
    view = client.run(fleet, request, "Next: sdfleet verify", verbose)
    views = [first, view] if first else [view]
    return _told("apply", views, FAILED if view.failed else OK, as_json)


def drift(file: Path, limit: Sequence[str], role: Sequence[str], as_json: bool) -> int:
    """Print what differs, and return DRIFT if something does."""
    fleet = load(file)
    request = _request(fleet, limit, role, apply=False, diff=False)
    todo = "Next: sdfleet apply, or sdfleet update to do it in waves"
    view = client.run(fleet, request, todo, False, "No drift.")
    return _told("drift", [view], FAILED if view.failed else DRIFT if view.changed else OK, as_json)


def _request(fleet: Fleet, limit: Sequence[str], role: Sequence[str], apply: bool, diff: bool) -> Request:
    hosts, roles = client.select_hosts(fleet, limit), client.select_roles(role)
    lock.require(fleet, hosts, roles)
    return Request(fleet=str(fleet.file), hosts=hosts, roles=roles, apply=apply, files_needed=apply, diff=diff)


def _told(command: str, views: Sequence[EngineView], code: int, as_json: bool) -> int:
    """Print the document of what was planned or applied, if asked to. Returns `code`."""
    if as_json:
        seconds = time.monotonic() - views[0].began
        Document(command=command, exit_code=code, seconds=seconds, hosts=together(views)).write()
    return code
