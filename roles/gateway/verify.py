"""What must hold on a host with a gateway: nobody gets past it without a login, and its secrets are root's."""

import itertools
from ssl import cert_time_to_seconds

import pytest
from testinfra.host import Host

from roles.facts import http_commands
from roles.facts.unit_files import check_file, check_unit_file, check_unit_runs
from roles.gateway.backends import Backend, Reached, Served, ServedWithBoard, backends
from roles.gateway.config import Gateway
from roles.gateway.rendering import (
    CERTIFICATE,
    CONFIG,
    CURRENT,
    KEY,
    UNIT,
    USERS,
    has_certificate,
    nginx_conf,
    unit_text,
)
from roles.managers import Manager
from roles.paths import GATEWAY, Paths

CLOSED = (
    "/",
    "/system_stats",
    "/ws",
    "/sdapi/v1/sd-models",
    "/internal/sysinfo",
    "/file=/etc/passwd",
    "/api/presets",
    "/data/runs",
)
WEEK_SECONDS = 7 * 24 * 3600


@pytest.fixture
def served(
    gateway: Gateway, roles: tuple[str, ...], webui: Served, comfyui: Served, lora_scripts: ServedWithBoard
) -> list[Backend]:
    """What the gateway stands in front of."""
    if not gateway.enabled:
        pytest.skip("gateway.enabled is false")
    return backends(gateway, roles, webui, comfyui, lora_scripts)


@pytest.fixture
def places(gateway: Gateway) -> list[str]:
    """Where it listens, seen from the host, as the beginning of a URL."""
    loopback = {4: "127.0.0.1", 6: "::1"}
    shown = [loopback[address.version] if address.is_unspecified else str(address) for address in gateway.listen]
    scheme = "https" if has_certificate(gateway) else "http"
    return [f"{scheme}://[{place}]" if ":" in place else f"{scheme}://{place}" for place in shown]


def test_it_is_closed_if_told_so(host: Host, gateway: Gateway, manager: Manager) -> None:
    if gateway.enabled:
        pytest.skip("gateway.enabled is true")
    for place in (manager.file(UNIT.name), GATEWAY):
        assert not host.file(str(place)).exists, f"{place} is still there"


def test_unit_and_configuration_are_as_described(
    host: Host, gateway: Gateway, connection: Reached, paths: Paths, served: list[Backend], manager: Manager
) -> None:
    check_unit_file(host, manager.file(UNIT.name), unit_text(gateway, connection.address, paths, manager))
    check_file(host, CURRENT / CONFIG, nginx_conf(gateway, connection.address, served, manager))


def test_unit_is_active_and_comes_back_after_a_reboot(host: Host, served: list[Backend], manager: Manager) -> None:
    check_unit_runs(host, UNIT.name, manager)


def test_secrets_belong_to_root(host: Host, gateway: Gateway, served: list[Backend]) -> None:
    files = [str(path) for path in (CURRENT / USERS, *([KEY] if has_certificate(gateway) else []))]
    for file in files:
        assert host.check_output("stat -L -c '%%a %%U' %s", file) == "600 root", f"{file} can be read by others"
    assert host.check_output("stat -c %%a %s", str(GATEWAY)) == "700", f"{GATEWAY} can be read by others"


def test_nobody_comes_in_without_a_login(host: Host, served: list[Backend], places: list[str]) -> None:
    bases = [f"{at}:{backend.public_port}" for at in places for backend in served]
    urls = [f"{base}{path}" for base in bases for path in CLOSED]
    statuses = host.run(http_commands.statuses(urls, "-k", "--path-as-is")).stdout.split()
    assert len(statuses) == len(urls), f"only {len(statuses)} of {len(urls)} requests were answered in time"
    let_in = [url for url, status in zip(urls, statuses, strict=True) if status != "401"]
    assert not let_in, f"answered without a login: {', '.join(let_in)}"


def test_wrong_password_is_refused(host: Host, served: list[Backend], places: list[str]) -> None:
    url = f"{places[0]}:{served[0].public_port}/sdfleet/login"
    status = host.run(http_commands.statuses([url], "-k", "-u nobody:wrong")).stdout.strip()
    assert status in ("401", "429"), f"{url} answers a wrong password with {status}"


def test_services_answer_behind_it(host: Host, served: list[Backend], places: list[str]) -> None:
    for at, backend in itertools.product(places, served):
        url = f"{at}:{backend.public_port}/sdfleet/health"
        answer = host.run(http_commands.body(url, "-k"))
        assert answer.stdout == "ok\n", f"{url} says {answer.stdout.strip() or answer.stderr.strip() or 'nothing'}"


def test_page_below_its_path_needs_a_login_too(
    host: Host, gateway: Gateway, served: list[Backend], places: list[str]
) -> None:
    if not gateway.path:
        pytest.skip("it has no path")
    urls = [f"{at}:{served[0].public_port}{gateway.path}{path}" for at in places for path in CLOSED]
    statuses = host.run(http_commands.statuses(urls, "-k", "--path-as-is")).stdout.split()
    assert statuses == ["401"] * len(urls), f"answered without a login below {gateway.path}: {' '.join(statuses)}"


def test_no_page_of_another_site_may_ask(host: Host, served: list[Backend], places: list[str]) -> None:
    url = f"{places[0]}:{served[0].public_port}/sdfleet/login"
    status = host.run(http_commands.statuses([url], "-k", "-H 'Origin: https://elsewhere.invalid'")).stdout.strip()
    assert status == "403", f"{url} answers a page of another site with {status}"


def test_certificate_and_key_belong_together(host: Host, gateway: Gateway, served: list[Backend]) -> None:
    if not has_certificate(gateway):
        assert not host.file(str(KEY)).exists, f"{KEY} is still there, though TLS is the provider's"
        return
    of_certificate = host.check_output("openssl x509 -in %s -noout -pubkey", str(CERTIFICATE))
    of_key = host.check_output("openssl pkey -in %s -pubout", str(KEY))
    assert of_certificate == of_key, f"{KEY} is not the key of {CERTIFICATE}"
    dates = host.check_output("openssl x509 -in %s -noout -startdate -enddate; date +%%s", str(CERTIFICATE))
    begins, ends, now = dates.splitlines()
    start, end = (cert_time_to_seconds(date.partition("=")[2]) for date in (begins, ends))
    # Some authorities' certificates live for hours or days, and are renewed when half of that has passed.
    enough = min(WEEK_SECONDS, (end - start) / 4)
    assert end - int(now) > enough, f"{CERTIFICATE} expires soon: {ends.partition('=')[2]}"
