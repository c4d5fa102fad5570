"""What the gateway's settings come to, before a host is asked anything."""

import itertools
import re
from pathlib import Path

import pytest

from inventory.load import load
from roles.gateway.backends import Backend, backends
from roles.gateway.certificates import _port, certbot, given_certificate
from roles.gateway.config import Gateway
from roles.gateway.rendering import nginx_conf, unit_text
from roles.managers import SYSTEMD
from roles.paths import Paths
from roles.settings import SettingError
from tests.roles.gateway.authority import Authority

AUTHORITY = Authority()
SIGNED = AUTHORITY.sign("127.0.0.1")
ACME = Gateway(
    tls="acme",
    domain="sd.example.org",
    acme_email="ops@example.org",
    acme_directory="https://acme.invalid/directory",
)
WEBUI = Backend("WebUI", 443, 7860, "/internal/ping")


def test_a_certificate_and_its_key_are_taken_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "chain.pem").write_text(SIGNED.certificate + AUTHORITY.certificate)
    gateway = Gateway(tls="given", certificate=tmp_path / "chain.pem")
    assert given_certificate(gateway, {"gateway_key": SIGNED.key}) == (
        SIGNED.certificate + AUTHORITY.certificate,
        SIGNED.key,
    )


@pytest.mark.parametrize(
    ("chain", "key", "why"),
    [
        ("no PEM", SIGNED.key, "gateway.certificate: holds no certificate"),
        (SIGNED.certificate, "no PEM", "secrets.gateway_key: is no private key"),
        (SIGNED.certificate, AUTHORITY.sign("127.0.0.1").key, "secrets.gateway_key: is not the key of the first"),
        (AUTHORITY.certificate + SIGNED.certificate, SIGNED.key, "is not the key of the first certificate"),
    ],
    ids=["no certificate", "no key", "another key", "the wrong certificate first"],
)
def test_a_pair_that_would_take_the_gateway_down_is_refused(tmp_path: Path, chain: str, key: str, why: str) -> None:
    (tmp_path / "chain.pem").write_text(chain)
    with pytest.raises(SettingError, match=why):
        given_certificate(Gateway(tls="given", certificate=tmp_path / "chain.pem"), {"gateway_key": key})


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    old = AUTHORITY.sign("127.0.0.1", days=-3)
    (tmp_path / "chain.pem").write_text(old.certificate)
    with pytest.raises(SettingError, match=r"gateway.certificate: expired on 2\d\d\d-"):
        given_certificate(Gateway(tls="given", certificate=tmp_path / "chain.pem"), {"gateway_key": old.key})


def test_certbot_asks_the_directory_that_is_set_and_answers_where_nginx_serves() -> None:
    words = certbot(ACME, Paths())
    options = dict(itertools.pairwise(words))
    assert options["--server"] == "https://acme.invalid/directory"
    assert (options["--domain"], options["--email"]) == ("sd.example.org", "ops@example.org")
    answered = (
        nginx_conf(ACME, "203.0.113.1", [WEBUI], SYSTEMD)
        .partition("location /.well-known/acme-challenge/ {")[2]
        .partition("}")[0]
    )
    assert answered.split() == ["root", f"{options['--webroot-path']};"]
    assert "--register-unsafely-without-email" in certbot(ACME.model_copy(update={"acme_email": None}), Paths())


def test_the_unit_is_another_when_its_certificate_is() -> None:
    assert unit_text(ACME, "203.0.113.1", Paths(), SYSTEMD) != unit_text(Gateway(), "203.0.113.1", Paths(), SYSTEMD)


def test_it_listens_where_it_is_told_to_and_nowhere_else() -> None:
    listening = Gateway.model_validate({"listen": ["10.8.0.1", "::"], "http_port": None})
    lines = [
        line.strip()
        for line in nginx_conf(listening, "203.0.113.1", [WEBUI], SYSTEMD).splitlines()
        if "listen " in line
    ]
    assert lines == ["listen 10.8.0.1:443 ssl http2;", "listen [::]:443 ssl http2;"]


def test_plain_http_leads_to_the_gateways_own_name_whatever_host_was_asked() -> None:
    def leads(gateway: Gateway, address: str) -> str:
        return next(
            line.strip() for line in nginx_conf(gateway, address, [WEBUI], SYSTEMD).splitlines() if "return 301" in line
        )

    assert leads(Gateway(), "203.0.113.1") == "return 301 https://203.0.113.1:443$request_uri;"
    assert leads(Gateway(), "2001:db8::1") == "return 301 https://[2001:db8::1]:443$request_uri;"
    assert leads(Gateway(), "local") == "return 301 https://localhost:443$request_uri;"
    assert leads(ACME, "203.0.113.1") == "return 301 https://sd.example.org:443$request_uri;"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("a=1; b=2", "a=1; b=2"),
        ("a=1; __Host-sdfleet=key; b=2", "a=1; b=2"),
        ("__Host-sdfleet=key", ""),
        ("__Host-sdfleet=key; __Host-sdfleet=key; b=2", ""),
        ("a=1;__Host-sdfleet=guessed;__Host-sdfleet=key", ""),
        ("a=1; __Host-sdfleet=key; __Secure-sdfleet=old", ""),
        ("__Secure-sdfleet-device=known; a=1", ""),
    ],
)
def test_no_service_sees_a_cookie_of_the_gateway(sent: str, shown: str) -> None:
    """As nginx computes its variables: the first of a map's patterns that fits, and its named groups."""
    conf, values = nginx_conf(Gateway(), "x", [WEBUI], SYSTEMD), {"http_cookie": sent}
    for source, target, body in re.findall(r"map \$(\w*cookie|\w*removed) \$(\w+) \{(.*?)\n    \}", conf, re.DOTALL):
        [(default,), *patterns] = [re.findall(r'(?:default|"~(.*)") (.*);', line) for line in body.splitlines() if line]
        values[target] = values[default[1].lstrip("$")]
        for [(pattern, result)] in patterns:
            if found := re.search(pattern.replace("(?<", "(?P<"), values[source]):
                values[target] = "".join(found[name] for name in re.findall(r"\w+", result))
    assert "proxy_set_header Cookie $others_cookies;" in conf and values["others_cookies"].strip("; ") == shown


def test_comfyui_does_not_judge_an_origin_again_that_the_gateway_has_let_in(tmp_path: Path) -> None:
    """A provider's proxy may have changed the name that ComfyUI would compare it with."""
    text = '[fleet]\nname = "s"\n[hosts.a]\naddress = "203.0.113.1"\ngroups = ["webui", "comfyui"]\n'
    (tmp_path / "fleet.toml").write_text(text)
    host = load(tmp_path / "fleet.toml").hosts["a"]
    found = backends(host.gateway, host.roles, host.webui, host.comfyui, host.lora_scripts)
    webui, comfyui = nginx_conf(Gateway(), "x", found, SYSTEMD).split("    # ComfyUI\n")
    drops = 'proxy_set_header Origin "";'
    assert "proxy_pass http://127.0.0.1:8188;" in comfyui and drops in comfyui and drops not in webui


def test_browsers_are_told_to_stay_on_https_where_the_certificate_is_trusted() -> None:
    assert "Strict-Transport-Security" in nginx_conf(ACME, "x", [WEBUI], SYSTEMD)
    # With a certificate of its own nobody could ever click through a warning again.
    assert "Strict-Transport-Security" not in nginx_conf(Gateway(), "x", [WEBUI], SYSTEMD)


def test_there_are_files_for_all_connections() -> None:
    conf, unit = nginx_conf(Gateway(), "x", [WEBUI], SYSTEMD), unit_text(Gateway(), "x", Paths(), SYSTEMD)
    connections = int(conf.partition("worker_connections ")[2].partition(";")[0])
    files = int(unit.partition("LimitNOFILE=")[2].partition("\n")[0])
    assert files > 2 * connections and "worker_rlimit_nofile" not in conf, "a worker may not raise its own limit"


def test_an_address_shows_no_port_that_browsers_leave_out() -> None:
    assert [_port(Backend("x", port, 1, "/")) for port in (443, 8443)] == ["", ":8443"]
