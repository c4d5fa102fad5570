"""Checks of the services of a host's roles: installed, running, and listening on their ports."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deploy import units
from deploy.doctor.finding import Finding, bad, good, warning
from inventory.model import HostSettings
from roles.cache.config import FILES, KINDS, MODELS
from roles.gateway.backends import backends

RESTARTS = 3
EVERYBODY = ("0.0.0.0", "*", "[::]")

Seen = Mapping[str, Any]


@dataclass(frozen=True)
class Service:
    """A role's unit and its ports."""

    name: str
    """Its name for `sdfleet logs`."""
    ports: tuple[int, ...]
    setting: str
    """The setting of its (first) port."""
    private: bool = True
    """Whether it should listen on loopback only."""
    waits: bool = False
    """Whether it is started only on demand."""

    @property
    def unit(self) -> str:
        return units.SERVICES[self.name]


def services(host: HostSettings) -> list[Service]:
    """The services of a host with these settings."""
    scripts = host.lora_scripts
    found = {
        "webui": [Service("webui", (host.webui.port,), "webui.port")],
        "lora_scripts": [
            Service("lora-scripts", (scripts.port,), "lora_scripts.port"),
            Service("lora-scripts-tensorboard", (scripts.tensorboard_port,), "lora_scripts.tensorboard_port"),
        ],
        "trainer": [Service("tensorboard", (host.trainer.tensorboard_port,), "trainer.tensorboard_port", waits=True)],
        "gateway": [Service("gateway", _gateway_ports(host), "gateway.webui_port", private=False)],
        "cache": [Service("cache", _cache_ports(host), "cache.port", private=False)],
    }
    if not host.gateway.enabled:
        del found["gateway"]
    return [service for role, its in found.items() if host.has(role) for service in its]


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
        yield good(service.name, f"{state}, {listens}")


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


def _gateway_ports(host: HostSettings) -> tuple[int, ...]:
    public = [each.public_port for each in backends(host.gateway, host.roles, host.webui, host.lora_scripts)]
    return (*public, *([host.gateway.http_port] if host.gateway.http_port else []))


def _cache_ports(host: HostSettings) -> tuple[int, ...]:
    kinds = [kind for kind in KINDS if getattr(host.direct, kind)]
    return tuple(host.cache.port_of(kind) for kind in (*kinds, FILES, MODELS))
