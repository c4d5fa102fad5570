"""What systemd is told of a service, in its template's words, is what the value of the service says."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest

from inventory.load import load
from roles.managers import SYSTEMD, Systemd
from roles.service import Service
from tests.roles.test_hardening import units
from tests.roles.test_unit_texts import FLEETS

ELSEWHERE = ("hardening", "foreground")
"""What the template alone knows by name, and what systemd needs none of."""


@dataclass(frozen=True)
class Collecting(Systemd):
    """Keeps the services whose texts it is asked for."""

    services: list[Service] = field(default_factory=list)

    def text(self, service: Service) -> str:
        self.services.append(service)
        return super().text(service)


def _services() -> dict[str, Service]:
    """Every service of every fleet, by fleet and unit."""
    found: dict[str, Service] = {}
    for fleet, (text, device) in FLEETS.items():
        manager = Collecting()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "fleet.toml"
            file.write_text(text)
            units(load(file).hosts["a"], device, manager)
        found |= {f"{fleet} {service.unit}": service for service in manager.services}
    return found


SERVICES = _services()


def _longer(value: object) -> tuple[Any, str]:
    """A collection with one more element, and what that element is called in a text."""
    if isinstance(value, Mapping):
        return {**value, "/one/more": "/and/its/value"}, "/one/more"
    assert isinstance(value, tuple)
    return ((*value, 77), "77") if isinstance(value[0], int) else ((*value, "/one/more"), "/one/more")


@pytest.mark.parametrize("name", SERVICES)
def test_no_part_of_a_service_is_lost_in_its_unit(name: str) -> None:
    service = SERVICES[name]
    for part in fields(Service):
        value = getattr(service, part.name)
        if part.name in ELSEWHERE or not value or not isinstance(value, (tuple, Mapping)):
            continue
        longer, word = _longer(value)
        text = SYSTEMD.text(replace(service, **{part.name: longer}))
        assert word in text, f"{part.name}: one more element is not in the unit"


def _settings(text: str) -> dict[str, str]:
    """The last value of each setting."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def _expected(service: Service) -> dict[str, tuple[str, object]]:
    """Setting -> systemd's default for it, and what it must be."""
    return {
        "Description": ("", service.description),
        "AssertPathExists": ("", service.needs),
        "StartLimitIntervalSec": ("10", service.failures_seconds),
        "StartLimitBurst": ("5", service.failures),
        "User": ("" if service.user != "root" else "root", service.user),
        "DynamicUser": ("no", "no" if service.user else "yes"),
        "WorkingDirectory": ("", service.folder),
        "UMask": ("0022", f"{service.umask:04o}"),
        "Restart": ("no", service.restart),
        "RestartSec": ("100ms" if service.restart != "no" else "5", service.restart_seconds),
        "SuccessExitStatus": ("", " ".join(map(str, service.good_statuses))),
        "KillSignal": ("SIGTERM", f"SIG{service.stop_signal}"),
        "TimeoutStopSec": ("90", service.stop_seconds),
        "RuntimeMaxSec": ("0h", f"{service.longest_seconds // 3600}h"),
        "RuntimeDirectory": ("", service.runtime_folder),
        "RuntimeDirectoryMode": ("0755", f"{service.runtime_mode:04o}"),
        "RuntimeDirectoryPreserve": ("no", "restart" if service.runtime_kept else "no"),
        "CacheDirectory": ("", service.cache_folder),
        "Nice": ("0", service.nice),
        "OOMScoreAdjust": ("0", service.oom_score),
        "MemoryMax": ("infinity", service.memory_max),
        "LimitNOFILE": ("0", service.open_files),
        "TimeoutStartSec": ("90", service.start_seconds),
        "WantedBy": ("", "multi-user.target" if service.on_boot else ""),
    }


@pytest.mark.parametrize("name", SERVICES)
def test_its_unit_says_the_same(name: str) -> None:
    service = SERVICES[name]
    settings = _settings(SYSTEMD.text(service))
    expected = {key: str(value) for key, (_, value) in _expected(service).items()}
    assert {key: settings.get(key, default) for key, (default, _) in _expected(service).items()} == expected
    types = {"started": ("exec", "oneshot"), "notifies": ("notify",), "forks": ("forking",)}
    assert settings["Type"] in types[service.ready]
    assert (settings.get("KillMode") == "process") == (not service.stop_children)
    for key in ("AmbientCapabilities", "CapabilityBoundingSet"):
        assert ("CAP_NET_BIND_SERVICE" in settings.get(key, "")) == service.low_ports
