"""Checks of the services of a host's roles: installed, running, and listening on their ports."""

from collections.abc import Iterator, Mapping
from typing import Any

from deploy.doctor.finding import bad, good, warning
from deploy.shapes import Finding
from deploy.units import Service, services
from inventory.model import HostSettings

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
    see = f"See why: sdfleet logs {host.name} {service.name}"
    restarts = int(unit.get("NRestarts") or 0)
    if unit.get("LoadState") != "loaded":
        yield warning(service.name, "is not installed", "Run: sdfleet apply")
        yield from _taken(host, service, owners)
    elif unit.get("ActiveState") != "active":
        if not service.waits:
            last = seen["failed"].get(service.unit, "")
            says = f"{service.unit} is {state}" + (f"; its last line: {last}" if last else "")
            yield bad(service.name, says, see)
        yield from _taken(host, service, owners)
    elif silent := [str(port) for port in service.ports if port not in owners]:
        says = f"{state}, but nothing listens on {', '.join(silent)} yet"
        yield warning(service.name, says, "Try again in a minute.")
    elif restarts > RESTARTS:
        yield warning(service.name, f"{state}, but it was restarted {restarts} times", see)
    else:
        listens = "; ".join(f"{port} is {owner}" for port, owner in owners.items())
        yield good(service.name, ", ".join(filter(None, [state, listens])))


def _taken(host: HostSettings, service: Service, owners: Mapping[int, str]) -> Iterator[Finding]:
    for port, owner in owners.items():
        says = f"{port} is in use by {owner}, so {service.name} cannot start"
        yield bad("port", says, f"Stop it, or set hosts.{host.name}.{service.setting}.")


def _openness(host: HostSettings, service: Service, seen: Seen) -> Iterator[Finding]:
    for port in service.ports:
        if any(address in seen["ports"].get(str(port), "") for address in EVERYBODY):
            # Only the WebUI has a flag that opens it; on the port of another service it is another program.
            flags = host.place("webui.flags")
            cure = f"Remove --listen from {flags}" if service.name == "webui" else f"Stop what listens on {port}"
            yield warning("port", f"{port} is open to everybody", f"{cure}; use instead: sdfleet open")
