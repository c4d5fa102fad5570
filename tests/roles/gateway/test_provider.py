"""A gateway behind a provider's TLS: what its settings must be, what nginx is told, and its pages below a path."""

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest
from pydantic import ValidationError

from deploy.units import services
from inventory.errors import ConfigError
from inventory.load import load
from inventory.model import HostSettings
from roles.gateway import logins
from roles.gateway.backends import Backend, backends
from roles.gateway.config import Gateway
from roles.gateway.logins import users_file
from roles.gateway.rendering import nginx_conf, service
from roles.managers import SYSTEMD, Supervisor
from roles.onhost.login_authentication import read_users
from roles.onhost.login_server import Server
from roles.paths import Paths
from roles.webui.service import launch_arguments
from tests.roles.gateway.test_login import PASSWORD, QUICK_COST, Client

URL = "https://u1-abc.example.com:8443"
WEBUI = Backend("WebUI", 6006, 7860, "/internal/ping")
OTHER_PORT = "[lora_scripts]\ntensorboard_port = 6009\n"
RENTED = Supervisor(Paths(root=PurePosixPath("/workspace/sdfleet")))
FLEET = f"""
[fleet]
name = "f"
[hosts.a]
address = "203.0.113.1"
groups = ["webui", "gateway"]
gateway = {{ tls = "provider", webui_port = 6006, public_urls = ["{URL}/proxy/6006/"] }}
"""


Loaded = Callable[[str], HostSettings]


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    """Reads a fleet.toml of one host."""

    def read(text: str) -> HostSettings:
        (tmp_path / "fleet.toml").write_text(text)
        return load(tmp_path / "fleet.toml").hosts["a"]

    return read


def provided(*urls: str, **more: object) -> Gateway:
    return Gateway.model_validate({"tls": "provider", "webui_port": 6006, "public_urls": urls or (URL,), **more})


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"tls": "provider"}, 'public_urls: tls = "provider" needs what the provider\'s page shows'),
        ({"public_urls": [URL]}, 'public_urls: goes with tls = "provider"'),
        ({"trusted_proxies": ["10.0.0.0/8"]}, 'trusted_proxies: goes with tls = "provider"'),
        ({"tls": "provider", "public_urls": [URL], "domain": "a.example.com"}, "domain: is not used"),
        ({"tls": "provider", "public_urls": [URL, f"{URL}/a"]}, "must have the same path"),
        ({"tls": "provider", "public_urls": ["http://a.example.com"]}, "is not what a provider's page shows"),
        ({"tls": "provider", "public_urls": ["https://a.example.com/?token=x"]}, "is not"),
        ({"tls": "provider", "public_urls": ["https://a.example.com/a;b"]}, "a;b"),
        ({"tls": "provider", "public_urls": ["https://a.example.com/../a"]}, "has a path with other characters"),
        (
            {"tls": "provider", "public_urls": ["https://a.example.com/sdfleet/"]},
            "below /sdfleet, where the gateway has",
        ),
        ({"tls": "provider", "public_urls": ["https://a.example.com/sdfleet/a"]}, "below /sdfleet"),
        ({"tls": "provider", "public_urls": ["https://münchen.example"]}, "give it as they do, e.g. xn--"),
        ({"tls": "provider", "public_urls": ["https://a,b.example"]}, "has a name with other characters"),
        ({"tls": "provider", "public_urls": ["https://me:pw@a.example.com"]}, "is not"),
    ],
)
def test_plain_http_is_never_by_accident(given: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(why)):
        Gateway.model_validate(given)


def test_a_public_url_is_what_browsers_send() -> None:
    urls = ("https://A.Example.COM:443/proxy/6006/", "https://[2001:db8::1]:8443/proxy/6006")
    gateway = provided(*urls)
    assert gateway.origins == ("https://a.example.com", "https://[2001:db8::1]:8443")
    assert gateway.path == "/proxy/6006"
    assert provided(f"{URL}/").path == ""
    assert provided("https://xn--mnchen-3ya.example").origins == ("https://xn--mnchen-3ya.example",)


def test_it_speaks_plain_http_on_the_providers_port_alone() -> None:
    conf = nginx_conf(provided(), "203.0.113.1", [WEBUI], RENTED)
    assert [line.strip() for line in conf.splitlines() if "listen " in line] == ["listen 0.0.0.0:6006;"]
    assert "ssl" not in conf and "Strict-Transport-Security" not in conf and " 301 " not in conf
    assert f'"{URL}" 0;' in conf and "$http_host" not in conf.partition("$foreign {")[2].partition("}")[0]


def test_the_question_for_a_session_is_never_rewritten() -> None:
    """At the level of the server a rewrite would change nginx's own subrequests, and lead this one to the service."""
    conf = nginx_conf(provided(f"{URL}/proxy/6006"), "203.0.113.1", [WEBUI], RENTED)
    outside = re.sub(r"location [^{]*\{[^}]*\}", "", re.sub(r"(?m)^\s*#.*$", "", conf))
    assert "rewrite ^/proxy/6006/" in conf and "location = /sdfleet/session {" in conf
    assert "rewrite" not in outside, outside


def test_one_service_is_shown_on_the_one_port(loaded: Loaded) -> None:
    host = loaded(FLEET.replace('"webui", ', '"webui", "lora_scripts", ') + OTHER_PORT)
    found = backends(host.gateway, host.roles, host.webui, host.comfyui, host.lora_scripts)
    assert [(each.name, each.public_port) for each in found] == [("WebUI", 6006)]
    assert next(each for each in services(host) if each.name == "gateway").ports == (6006,)


def test_lora_scripts_alone_is_shown_on_the_port_that_the_provider_opens(loaded: Loaded) -> None:
    host = loaded(FLEET.replace('"webui", ', '"lora_scripts", ').replace("/proxy/6006/", "") + OTHER_PORT)
    found = backends(host.gateway, host.roles, host.webui, host.comfyui, host.lora_scripts)
    assert [(each.name, each.public_port) for each in found] == [("lora-scripts", 6006)]
    assert next(each for each in services(host) if each.name == "gateway").ports == (6006,)


def test_ports_that_it_does_not_open_are_free(loaded: Loaded) -> None:
    for port in (80, 8443, 9443):
        assert loaded(FLEET.replace("= 6006", f"= {port}")).gateway.webui_port == port
    for port in (8443, 9443):
        assert loaded(FLEET + f"[webui]\nport = {port}\n").webui.port == port
    with pytest.raises(ConfigError, match=r"hosts\.a\.gateway\.webui_port are both 6006"):
        loaded(FLEET + "[webui]\nport = 6006\n")
    own = FLEET.replace('tls = "provider", ', "").replace(f', public_urls = ["{URL}/proxy/6006/"]', "")
    for port in (8443, 8444, 9443):
        assert loaded(own.replace("= 6006", f"= {port}")).gateway.webui_port == port
        assert loaded(own + f"[webui]\nport = {port}\n").webui.port == port
    both = own.replace('"webui", ', '"webui", "lora_scripts", ')
    for name in ("lora_scripts_port", "tensorboard_port", "http_port"):
        with pytest.raises(ConfigError, match=rf"hosts\.a\.gateway\.{name} are both 6006"):
            loaded(both.replace("webui_port", f"{name} = 6006, webui_port"))


def test_the_proxys_word_on_addresses_counts_only_where_it_is_trusted() -> None:
    assert "X-Forwarded-For;" not in nginx_conf(provided(), "x", [WEBUI], RENTED)
    conf = nginx_conf(provided(trusted_proxies=["10.0.0.0/8"]), "x", [WEBUI], RENTED)
    assert "set_real_ip_from 10.0.0.0/8;" in conf and "real_ip_header X-Forwarded-For;" in conf


def test_a_host_without_systemd_has_a_user_a_log_and_credentials_for_it() -> None:
    its = service(provided(), "x", RENTED.paths, RENTED)
    told = RENTED.text(its)
    assert '"user": "sdgateway"' in told and "/run/credentials" not in told
    assert '"--log",\n  "/run/sdfleet-gateway/log.sock"' in told
    assert set(its.credentials) == {"nginx.conf", "users"}
    conf = nginx_conf(provided(), "x", [WEBUI], RENTED)
    assert "access_log syslog:server=unix:/run/sdfleet-gateway/log.sock," in conf
    assert "--log" not in service(Gateway(), "x", RENTED.paths, SYSTEMD).program


def test_the_webui_writes_its_addresses_below_the_path(loaded: Loaded) -> None:
    host = loaded(FLEET)
    words = launch_arguments(host.webui, host.paths, "cpu")
    assert words[words.index("--subpath") + 1] == "proxy/6006"
    assert "--subpath" not in launch_arguments(loaded(FLEET.replace("/proxy/6006/", "")).webui, host.paths, "cpu")
    with pytest.raises(ConfigError, match=r"public_urls have a path, which only the WebUI knows"):
        loaded(FLEET.replace('"webui", ', '"lora_scripts", ') + OTHER_PORT)
    with pytest.raises(ConfigError, match=r"set webui\.subpath"):
        loaded(FLEET + '[webui]\nflags = { subpath = "a" }\n')


@pytest.mark.parametrize(
    ("fleet", "subpath", "told"),
    [
        (FLEET, "/sd", True),
        (FLEET, "/proxy/6006", False),
        (FLEET.replace("/proxy/6006/", ""), "/sd", True),
        (FLEET.replace("gateway = {", "gateway = { enabled = false,"), "/sd", False),
        (FLEET.partition("gateway = {")[0], "/sd", True),
        (FLEET.partition("gateway = {")[0].replace(', "gateway"', ""), "/sd", False),
    ],
)
def test_a_subpath_that_a_gateway_does_not_use_is_noted(tmp_path: Path, fleet: str, subpath: str, told: bool) -> None:
    logins = '[secrets]\ngateway_logins = { command = ["true"] }\n'
    (tmp_path / "fleet.toml").write_text(f'{fleet}\n[webui]\nsubpath = "{subpath}"\n{logins}')
    said = (
        "webui.subpath: is not used on a, which has a gateway; the path there is that of gateway.public_urls, with "
        'gateway.tls = "provider"'
    )
    assert load(tmp_path / "fleet.toml").notes == ((said,) if told else ())


@pytest.fixture
def below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """The login program of a gateway that people see below a path."""
    monkeypatch.setattr(logins, "COST", QUICK_COST)
    users = read_users(users_file({"ann": PASSWORD}, ""))
    with Server(tmp_path / "login.sock", users, hours=1, attempts=10, path="/proxy/6006") as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield Client(tmp_path / "login.sock")
        server.shutdown()


def test_login_and_logout_stay_below_the_path(below: Client) -> None:
    assert 'action="/proxy/6006/sdfleet/login"' in below.ask("GET", "/sdfleet/login?next=/x").body
    assert 'action="/proxy/6006/sdfleet/logout"' in below.ask("GET", "/sdfleet/logout").body
    # A proxy passes the path on, or takes it away.
    for wanted, leads in {
        "/": "/proxy/6006/",
        "/?a=b": "/proxy/6006/?a=b",
        "/proxy/6006/?a=b": "/proxy/6006/?a=b",
        "/proxy/6006": "/proxy/6006/",  # to which a browser sends no cookie
        "/proxy/6006?a=b": "/proxy/6006/?a=b",
        "/proxy/6006?a=/b?//c": "/proxy/6006/?a=/b?//c",
        "/proxy/60067": "/proxy/6006/proxy/60067",
        "//elsewhere.example": "/proxy/6006/",
        "/\\elsewhere.example": "/proxy/6006/",
        "//proxy/6006": "/proxy/6006/",
        "?//elsewhere.example": "/proxy/6006/",
    }.items():
        done = below.log_in(to=wanted)
        assert (done.status, done.place) == (303, leads)
        assert below.who(done) == "ann"
    assert set(done.cookies) == {"__Secure-sdfleet", "__Secure-sdfleet-device"}
    assert below.ask("POST", "/sdfleet/logout").place == "/proxy/6006/sdfleet/login"
