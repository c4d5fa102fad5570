"""The gateway's certificate: when it is made anew, and what is said if the gateway does not start with it."""

import os
from pathlib import Path

import pytest

from roles.facts.seen import Entry, HostSurvey
from roles.facts.survey import Survey
from roles.gateway import certificates, logins, tasks
from roles.gateway.backends import Backend
from roles.gateway.config import Gateway
from roles.gateway.rendering import CERTIFICATE, KEY, UNIT, unit_text
from roles.managers import SYSTEMD, Manager, Supervisor
from roles.onhost import gateway_certificate, init
from roles.paths import Paths
from tests.roles.declared import declared
from tests.roles.gateway.test_login import QUICK_COST

PATHS = Paths()
MANAGERS: tuple[Manager, ...] = (SYSTEMD, Supervisor(PATHS))
LONGER = Gateway(tls="acme", domain="a.example.org")
SHORTER = Gateway(tls="acme", domain="a.example")


def _commands(manager: Manager, unit: str, wanted: Gateway, address: str) -> list[str]:
    """What is done on a host with this unit."""
    seen = HostSurvey(texts={str(CERTIFICATE): "a", str(KEY): "b", str(manager.file(UNIT.name)): unit})

    def declare() -> None:
        certificates.certificate(
            name="it", gateway=wanted, pair=None, address=address, paths=PATHS, seen=seen, manager=manager
        )

    return declared(declare, {Survey: seen})["it"]


@pytest.mark.parametrize("manager", MANAGERS, ids=lambda manager: manager.name)
def test_a_certificate_is_made_anew_for_an_address_that_the_old_one_begins_with(manager: Manager) -> None:
    unit = unit_text(Gateway(), "203.0.113.10", PATHS, manager)
    assert _commands(manager, unit, Gateway(), "203.0.113.10") == []
    assert len(_commands(manager, unit, Gateway(), "203.0.113.1")) == 1
    unit = unit_text(LONGER, "203.0.113.1", PATHS, manager)
    assert _commands(manager, unit, LONGER, "203.0.113.1") == []
    assert len(_commands(manager, unit, SHORTER, "203.0.113.1")) == 1


def _removing(had: bool) -> list[str]:
    """What is done to the certificate, and the switch to another configuration, on a host that gets provider's TLS."""
    behind = Gateway.model_validate({"tls": "provider", "webui_port": 6006, "public_urls": ["https://a.example"]})
    entries = {str(file): Entry("f", "root", "root", 0o600) for file in (CERTIFICATE, KEY) if had}
    backend, secrets = Backend("WebUI", 6006, 7860, "/internal/ping"), {"gateway_logins": "ann:correct-horse-58"}

    def declare() -> None:
        tasks.install(behind, PATHS, "203.0.113.1", [backend], secrets, SYSTEMD)  # type: ignore[call-arg, arg-type]

    found = declared(declare, {Survey: HostSurvey(entries=entries, packages={"nginx"})})
    steps = {"Run": " switch ", "Remove": f"rm -f {CERTIFICATE}"}
    told = [command for commands in found.values() for command in commands]
    return [step for command in told for step, part in steps.items() if part in command]


def test_a_certificate_stays_until_the_gateway_serves_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration that does not start leads back to the one before, which needs it."""
    monkeypatch.setattr(logins, "COST", QUICK_COST)
    assert _removing(had=True) == ["Run", "Remove"]
    assert _removing(had=False) == ["Run"]


def test_certbots_hook_says_why_the_gateway_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("privkey.pem", "fullchain.pem"):
        (tmp_path / name).write_text(name)
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho 'Job for it failed: no such port' >&2\nexit 1\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(init, "BOOTED", tmp_path)
    with pytest.raises(SystemExit, match=r"not restarted with the new certificate: Job for it failed: no such port"):
        gateway_certificate.take_over(tmp_path, tmp_path)
    assert (tmp_path / "tls.crt").read_text() == "fullchain.pem"
