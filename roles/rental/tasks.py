"""Operations of the rental role."""

from collections.abc import Mapping

from pyinfra.api.deploy import deploy
from pyinfra.context import host
from pyinfra.operations import server

from roles.facts.provider import Provider
from roles.facts.survey import Survey
from roles.managers import Manager
from roles.operations.units import run_unit
from roles.paths import Paths
from roles.rental.config import Rental
from roles.rental.service import UNIT, unit_text


@deploy("Rental")
def install(rental: Rental, paths: Paths, ports: Mapping[str, int], manager: Manager) -> None:
    """
    Have the host stop itself when nothing has used it for a while, or no longer so.

    + rental: the role's settings
    + paths: the host's paths
    + ports: of the services that draw, by role; of those that the host has
    + manager: the host's service manager
    """
    file = manager.file(UNIT.name)
    seen = host.get_fact(Survey, texts=[file], units=manager.show([UNIT.name]))
    if rental.idle_stop:
        provider = host.get_fact(Provider)
        text = unit_text(rental, paths, ports, provider, manager)
        run_unit(f"Stop this host when idle for {rental.idle_stop}", file, text, seen, manager)
    elif seen.entry(file):
        server.shell(name="Let this host run on when it is idle", commands=manager.remove(UNIT.name))
