"""A gateway on a real host, set in other ways: IPv6, a certificate of its own, closed again; where a login leads."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.supervisor import BRIDGE
from tests.light.fleet import LightFleet
from tests.roles.gateway.asking import LOGIN, NOTHING, REFUSED, Asking
from tests.roles.gateway.authority import Authority
from tests.typed import Done

pytestmark = pytest.mark.lab

HERE, THERE = "fd77::11", "fd77::1"
"""Addresses that the host and the lab's own end get for the tests of IPv6."""

ELSEWHERE = [
    "//evil.example",
    "///evil.example",
    "https://evil.example/",
    "https:evil.example",
    "javascript:alert(1)",
    "\\\\evil.example",
    "/\\evil.example",
    "/\\/evil.example",
    "%2F%2Fevil.example",
    "/%2F/evil.example",
    "/%5Cevil.example",
    "/%09/evil.example",
    "/%0d%0aLocation:%20https://evil.example",
    "%68ttps://evil.example",
    "/.//evil.example",
    "@evil.example",
    ".evil.example",
    "/&next=//evil.example",
]


def applied(light: LightFleet, name: str, **tables: Any) -> tuple[Done, Path]:
    """Apply the fleet with other settings, and once more: the second time must change nothing."""
    file = light.change(name, **tables)
    first = light.sdfleet("apply", "--fleet", str(file))
    assert first.code == 0, first.text
    again = light.sdfleet("apply", "--fleet", str(file))
    assert (again.code, again.cell("h1", "changed")) == (0, "0"), again.text
    return first, file


BOTH = {"listen": ["0.0.0.0", "::"], "login_attempts": 1000}
"""Settings of a gateway that listens on IPv6 too, with a limit of attempts that these tests do not reach."""


@pytest.fixture(scope="module")
def both(light: LightFleet) -> Asking:
    """The gateway, set so."""
    applied(light, "both", gateway=BOTH)
    return Asking(light, base="https://[::1]")


@pytest.fixture
def brought_back(light: LightFleet, both: Asking) -> Iterator[None]:
    """Brings the gateway back to these settings after a test that gives it others."""
    yield
    applied(light, "both", gateway=BOTH)


def test_nothing_answers_without_a_login_over_ipv6_either(both: Asking) -> None:
    listening = [line.split()[3] for line in both.light.on("h1", "ss -Hltn6").splitlines()]
    open_to_all = {int(place.rpartition(":")[2]) for place in listening if not place.startswith("[::1]")}
    assert {80, 443} <= open_to_all <= {22, 80, 443}, listening
    assert set(both.table(both.base).values()) <= REFUSED
    assert set(both.table("http://[::1]").values()) <= {"301", "400"}
    assert both.handshake("/queue/join")[0].startswith("HTTP/1.1 401")
    assert both.curl("/sdfleet/health") == "ok"
    assert both.status("/internal/ping", both.cookie()) == "200"


def test_nothing_answers_others_without_a_login_over_ipv6(both: Asking) -> None:
    both.light.on("h1", f"ip -6 addr add {HERE}/64 dev eth0 nodad")
    added = both.light.lab.run_in_netns(["ip", "-6", "addr", "add", f"{THERE}/64", "dev", BRIDGE, "nodad"])
    assert added.returncode == 0, added.stderr
    health = ["curl", "-sk", f"https://[{HERE}]/sdfleet/health"]
    assert both.light.lab.run_in_netns(health).stdout == "ok\n"
    assert set(both.table(f"https://[{HERE}]", outside=True).values()) <= REFUSED
    assert set(both.table(f"http://[{HERE}]", outside=True).values()) <= {"301", "400"}
    assert set(both.table(f"http://[{HERE}]:7860", outside=True).values()) == {NOTHING}


def test_verify_asks_every_address(both: Asking) -> None:
    assert both.light.sdfleet("verify", "--fleet", str(both.light.folder / "both.toml")).code == 0


def test_the_login_page_leads_nowhere_else(both: Asking) -> None:
    for wanted in ELSEWHERE:
        status, place = led(both, wanted)
        # Browsers take a backslash for a slash, and drop tabs and line ends.
        read = re.sub(r"[\t\r\n]", "", place.replace("\\", "/"))
        assert status in ("303", "400"), (wanted, status)
        assert not place or (read.startswith("/") and not read.startswith("//")), (wanted, place)
    assert led(both, "/?a=1&b=2") == ("303", "/?a=1&b=2")


def led(gateway: Asking, wanted: str) -> tuple[str, str]:
    """Status of a login with that `next`, and where it leads."""
    options = f"-g -D - -o /dev/null -u {':'.join(LOGIN)}"
    first, *lines = gateway.curl(f"/sdfleet/login?next={wanted}", options).splitlines()
    places = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("location:")]
    return first.split()[1], "".join(places)


@pytest.mark.usefixtures("brought_back")
def test_a_given_certificate_is_served_and_replaced(light: LightFleet, tmp_path: Path) -> None:
    gateway, authority = Asking(light), Authority()
    (tmp_path / "ca.pem").write_text(authority.certificate)

    def trusted() -> str:
        words = ["curl", "-sS", "--cacert", str(tmp_path / "ca.pem"), f"{gateway.seen_from_outside}/sdfleet/health"]
        return light.lab.run_in_netns(words).stdout

    assert trusted() == ""
    serials = set()
    for _ in range(2):
        signed = authority.sign(gateway.address)
        (light.folder / "chain.pem").write_text(signed.certificate + authority.certificate)
        (light.folder / "key.pem").write_text(signed.key)
        secrets = {"gateway_logins": {"file": "logins"}, "gateway_key": {"file": "key.pem"}}
        first, file = applied(light, "given", gateway={"tls": "given", "certificate": "chain.pem"}, secrets=secrets)
        assert trusted() == "ok\n"
        assert not [line for line in signed.key.splitlines() if line in first.text]
        serials.add(light.on("h1", "openssl x509 -in /etc/sdfleet/gateway/tls.crt -noout -serial"))
        assert light.sdfleet("verify", "--fleet", str(file)).code == 0
    assert len(serials) == 2
    (light.folder / "key.pem").write_text(authority.sign(gateway.address).key)
    refused = light.sdfleet("apply", "--fleet", str(file))
    assert refused.code == 1 and "secrets.gateway_key: is not the key" in refused.text, refused.text
    assert trusted() == "ok\n", "a wrong key took the gateway down"


@pytest.mark.usefixtures("brought_back")
def test_a_closed_gateway_leaves_nothing_behind_and_opens_again(light: LightFleet) -> None:
    _, file = applied(light, "closed", gateway={"enabled": False})
    assert light.sdfleet("verify", "--fleet", str(file)).code == 0
    listening = [line.split()[3] for line in light.on("h1", "ss -Hltn").splitlines()]
    assert not [place for place in listening if place.endswith((":80", ":443"))]
    left = light.on("h1", "find / -xdev -not -path '/proc/*' -iname '*gateway*' -path '*sdfleet*'; ls /etc/sdfleet")
    assert "gateway" not in left.replace("sdfleet/programs", "")
    assert light.on("h1", "id -u sdfleet-gateway 2>/dev/null || echo none") == "none"
    again = light.sdfleet("apply")
    assert again.code == 0, again.text
    assert Asking(light).curl("/sdfleet/health") == "ok"
