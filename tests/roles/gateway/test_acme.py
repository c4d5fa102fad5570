"""A gateway whose certificate comes from an ACME authority: a real one (Caddy's), which proves the name and signs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.light.fleet import LightFleet
from tests.roles.gateway import asking
from tests.roles.gateway.asking import Asking
from tests.roles.gateway.test_ways_to_be_reached import applied

pytestmark = pytest.mark.lab

DOMAIN = "gpu.lab.test"
AUTHORITY = "authority.lab.test:8443"
DIRECTORY = f"https://{AUTHORITY}/acme/local/directory"
HOME = "/var/lib/acme-authority"
ROOT = f"{HOME}/pki/authorities/local/root.crt"
CADDYFILE = f"""{{
    skip_install_trust
    auto_https disable_redirects
    admin off
    storage file_system {HOME}
}}
https://{AUTHORITY} {{
    tls internal
    acme_server
}}
"""
SERIAL = "openssl x509 -in /etc/sdfleet/gateway/tls.crt -noout -serial"


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    """A gateway with a certificate of its own; the authority is installed, but does not run yet."""
    with asking.running(tmp_path_factory.mktemp("acme")) as light:
        light.on("h1", "ln -s /dev/null /etc/systemd/system/caddy.service")
        light.on(
            "h1", "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q caddy ca-certificates"
        )
        light.on("h1", f"echo 127.0.0.1 {DOMAIN} {AUTHORITY.partition(':')[0]} >>/etc/hosts")
        light.on("h1", f"mkdir -p {HOME}; cat >{HOME}/Caddyfile <<'END'\n{CADDYFILE}END")
        yield Asking(light)


def start(light: LightFleet) -> None:
    """Start the authority, and have the host trust its root as it trusts the world's."""
    light.on("h1", f"systemd-run --quiet --unit=authority --setenv=HOME={HOME} caddy run --config {HOME}/Caddyfile")
    light.on("h1", f"timeout 60 sh -c 'until test -s {ROOT}; do sleep 0.2; done'")
    light.on("h1", f"cp {ROOT} /usr/local/share/ca-certificates/authority.crt; update-ca-certificates")
    light.on("h1", f"timeout 60 sh -c 'until curl -sf -o /dev/null {DIRECTORY}; do sleep 0.2; done'")


def trusted(gateway: Asking, folder: Path) -> bool:
    """Whether a client elsewhere that knows the authority and nobody else takes the gateway for its name."""
    (folder / "root.pem").write_text(gateway.light.on("h1", f"cat {ROOT}") + "\n")
    words = ["curl", "-sS", "--cacert", str(folder / "root.pem"), "--resolve", f"{DOMAIN}:443:{gateway.address}"]
    return gateway.light.lab.run_in_netns([*words, f"https://{DOMAIN}/sdfleet/health"]).stdout == "ok\n"


def test_the_authoritys_certificate_is_had_served_and_renewed(named: Asking, tmp_path: Path) -> None:
    light = named.light
    settings = {"tls": "acme", "domain": DOMAIN, "acme_directory": DIRECTORY}
    file = light.change("acme", gateway=settings)
    refused = light.sdfleet("apply", "--fleet", str(file))
    assert refused.code == 1 and AUTHORITY.partition(":")[0] in refused.text, refused.text
    assert named.curl("/sdfleet/health") == "ok", "while there is no authority, the gateway answers nobody"

    start(light)
    applied(light, "acme", gateway=settings)
    assert trusted(named, tmp_path)
    assert light.sdfleet("verify", "--fleet", str(file)).code == 0
    first = light.on("h1", SERIAL)

    assert light.on("h1", "systemctl is-active certbot.timer") == "active"
    light.on("h1", "certbot renew --quiet --force-renewal --no-random-sleep-on-renew")
    assert light.on("h1", SERIAL) != first
    assert trusted(named, tmp_path)
    served = f"openssl s_client -connect 127.0.0.1:443 -servername {DOMAIN} </dev/null 2>/dev/null"
    assert light.on("h1", f"{served} | openssl x509 -noout -serial") == light.on("h1", SERIAL)
    again = light.sdfleet("apply", "--fleet", str(file))
    assert (again.code, again.cell("h1", "changed")) == (0, "0"), again.text
