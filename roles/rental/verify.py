"""What must hold on a host that stops itself when it is idle."""

from typing import Protocol

import pytest
from testinfra.host import Host

from roles.facts.unit_files import check_unit_file, check_unit_runs
from roles.managers import Manager
from roles.onhost.files import json_object
from roles.onhost.idle_stop import LATE_SECONDS
from roles.paths import Paths
from roles.rental.config import Rental
from roles.rental.service import STATE, UNIT, unit_text


class Port(Protocol):
    """What these checks need to know of a service that draws."""

    @property
    def port(self) -> int:
        """Where it listens."""


def test_it_runs_on_if_told_so(host: Host, rental: Rental, manager: Manager) -> None:
    if rental.idle_stop:
        pytest.skip("rental.idle_stop is set")
    file = str(manager.file(UNIT.name))
    assert not host.file(file).exists, f"{file} is still there, which stops this host when it is idle"


def test_it_stops_when_idle(
    host: Host,
    rental: Rental,
    paths: Paths,
    roles: tuple[str, ...],
    webui: Port,
    comfyui: Port,
    manager: Manager,
    provider: str,
) -> None:
    if not rental.idle_stop:
        pytest.skip("rental.idle_stop is not set")
    ports = {role: its.port for role, its in (("webui", webui), ("comfyui", comfyui)) if role in roles}
    text = unit_text(rental, paths, ports, provider, manager)
    check_unit_file(host, manager.file(UNIT.name), text)
    check_unit_runs(host, UNIT.name, manager)


def test_it_looks_whether_it_is_idle(host: Host, rental: Rental) -> None:
    if not rental.idle_stop:
        pytest.skip("rental.idle_stop is not set")
    file = host.file(STATE)
    assert file.exists, f"{STATE} is missing: nothing looks whether this host is used"
    seen = json_object(file.content_string.encode())
    now = int(host.check_output("date +%s"))
    assert now - float(seen.get("at", 0)) < LATE_SECONDS, f"{STATE} is old: nothing looks whether this host is used"
