"""Checks of the services of a host's roles: installed, running, and listening on their ports."""

from collections.abc import Iterator, Mapping
from typing import Any

from deploy.doctor.finding import bad, good, warning
from deploy.shapes import Finding
from deploy.units import Service, services
from inventory.model import HostSettings
from roles.said import listed, say

RESTARTS = 3
EVERYBODY = ("0.0.0.0", "*", "[::]")

Seen = Mapping[str, Any]


def service_findings(host: HostSettings, seen: Seen) -> Iterator[Finding]:
    """One finding per good service; for the others, one per fault."""
    for service in services(host):
        yield from _state(host, service, seen)
        if service.private:
            yield from _openness(host, service, seen)


def _state(host: HostSettings, service: Service, seen: Seen) -> Iterator[Finding]:
    unit = seen["units"].get(service.unit, {})
    owners = {port: owner for port in service.ports if (owner := seen["ports"].get(str(port)))}
    state = f"{unit.get('ActiveState', 'unknown')}/{unit.get('SubState', 'unknown')}"
    see = say("See why: {command}", command=f"sdfleet logs {host.name} {service.name}")
    restarts = int(unit.get("NRestarts") or 0)
    if unit.get("LoadState") != "loaded":
        yield warning(service.name, "is not installed", say("Run: {command}", command="sdfleet apply"))
        yield from _taken(host, service, owners)
    elif unit.get("ActiveState") != "active":
        if not service.waits:
            last = seen["failed"].get(service.unit, "")
            says = say("{unit} is {state}", unit=service.unit, state=state)
            yield bad(service.name, say("{says}; its last line: {line}", says=says, line=last) if last else says, see)
        yield from _taken(host, service, owners)
    elif silent := [str(port) for port in service.ports if port not in owners]:
        says = say("{state}, but nothing listens on {ports} yet", state=state, ports=", ".join(silent))
        yield warning(service.name, says, "Try again in a minute.")
    elif restarts > RESTARTS:
        says = say("{state}, but it was restarted {times} times", state=state, times=restarts)
        yield warning(service.name, says, see)
    else:
        listens = [say("{port} is {owner}", port=port, owner=owner) for port, owner in owners.items()]
        both = listed(listens, "{these}; {that}") if listens else ""
        yield good(service.name, listed(filter(None, [state, both]), "{these}, {that}"))


def _taken(host: HostSettings, service: Service, owners: Mapping[int, str]) -> Iterator[Finding]:
    for port, owner in owners.items():
        says = say("{port} is in use by {owner}, so {name} cannot start", port=port, owner=owner, name=service.name)
        setting = f"hosts.{host.name}.{service.setting}"
        yield bad("port", says, say("Stop it, or set {setting}.", setting=setting))


def _openness(host: HostSettings, service: Service, seen: Seen) -> Iterator[Finding]:
    for port in service.ports:
        if any(address in seen["ports"].get(str(port), "") for address in EVERYBODY):
            # Only the WebUI has a flag that opens it; on the port of another service it is another program.
            flags = host.place("webui.flags")
            flag = say("Remove --listen from {flags}; use instead: sdfleet open", flags=flags)
            other = say("Stop what listens on {port}; use instead: sdfleet open", port=port)
            cure = flag if service.name == "webui" else other
            yield warning("port", say("{port} is open to everybody", port=port), cure)
