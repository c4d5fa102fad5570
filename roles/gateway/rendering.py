"""The gateway's files as text: what apply writes and verify compares with."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from roles.accounts import GATEWAY as USER
from roles.gateway.backends import Backend
from roles.gateway.config import Gateway
from roles.managers import Manager
from roles.onhost.login_server import session_cookie
from roles.paths import ACME, GATEWAY, UNITS, Paths
from roles.programs import digest
from roles.service import Path, Service
from templates import render

NAME = "sdfleet-gateway"
"""Name of its unit, and of its folders below /run and /var/cache."""
UNIT = UNITS / f"{NAME}.service"
RUNTIME = PurePosixPath("/run") / NAME
LOG = RUNTIME / "log.sock"
"""Where nginx leaves its log with the login program, on hosts without a socket for that."""
CERTIFICATE, KEY = GATEWAY / "tls.crt", GATEWAY / "tls.key"
RELEASES, CURRENT = GATEWAY / "releases", GATEWAY / "current"
CONFIG, USERS = "nginx.conf", "users"
"""Files of a release."""
CONNECTIONS = 2048
"""Connections of each of nginx's two workers, including those to the services."""
OPEN_FILES = 2 * CONNECTIONS + 512
"""A connection may need its own file, for an upload or an answer that does not fit into memory."""


def nginx_conf(gateway: Gateway, address: str, backends: Sequence[Backend], manager: Manager) -> str:
    """
    nginx's configuration; it contains no secret.

    + address: the host's, as in fleet.toml: plain HTTP redirects to it if there is no domain
    """
    return render(
        "gateway/nginx.conf.j2",
        backends=backends,
        listen=[f"[{address}]" if address.version == 6 else str(address) for address in gateway.listen],
        http_port=gateway.redirect_port,
        public=in_url(public_name(gateway, address)),
        tls=has_certificate(gateway),
        hsts=gateway.tls in ("acme", "given"),
        origins=gateway.origins,
        trusted_proxies=gateway.trusted_proxies,
        path=gateway.path,
        path_pattern=re.escape(gateway.path),
        cookie=session_cookie(gateway.path),
        log=manager.syslog or LOG,
        upload=gateway.max_upload_mb,
        timeout=gateway.answer_timeout,
        runtime=RUNTIME,
        cache=PurePosixPath("/var/cache") / NAME,
        credentials=manager.credentials(UNIT.name),
        connections=CONNECTIONS,
        acme=ACME,
    )


def unit_text(gateway: Gateway, address: str, paths: Paths, manager: Manager) -> str:
    """
    The file that describes the service to a host's service manager.

    + address: the host's address, for the certificate of a gateway without a domain
    """
    return manager.text(service(gateway, address, paths, manager))


def service(gateway: Gateway, address: str, paths: Paths, manager: Manager) -> Service:
    """The gateway as a service: the login program, which starts nginx."""
    credentials = manager.credentials(UNIT.name)
    words: list[Path] = ["/usr/bin/python3", "-I", paths.onhost, "gateway_login", "--users", credentials / USERS]
    words += ["--folder", RUNTIME, "--hours", str(gateway.session_hours), "--attempts", str(gateway.login_attempts)]
    words += ["--path", gateway.path] if gateway.path else []
    words += [] if manager.syslog else ["--log", LOG]
    certificate = {"tls.crt": CERTIFICATE, "tls.key": KEY} if has_certificate(gateway) else {}
    return Service(
        UNIT.name,
        "gateway",
        "TLS and a login in front of this host's services (sdfleet)",
        (*words, "--nginx", credentials / CONFIG),
        user="",
        lasting_user=USER,
        umask=0o077,
        ready="notifies",
        restart="always",
        restart_seconds=2,
        failures=20,
        failures_seconds=300,
        stop_signal="QUIT",
        stop_seconds=15,
        runtime_folder=NAME,
        runtime_mode=0o700,
        runtime_kept=True,
        cache_folder=NAME,
        credentials={CONFIG: CURRENT / CONFIG, USERS: CURRENT / USERS, **certificate},
        open_files=OPEN_FILES,
        low_ports=True,
        # It restarts for another certificate and another login program, and for no other one of ours.
        marks={"Certificate": certificate_id(gateway, address), "Login program": digest("gateway_login")},
    )


def has_certificate(gateway: Gateway) -> bool:
    """Whether it speaks TLS itself."""
    return gateway.tls != "provider"


def certificate_id(gateway: Gateway, address: str) -> str:
    """Identifies the certificate in the unit file, so that the service restarts when it changes."""
    if gateway.certificate is not None:
        return f"given, sha256 {hashlib.sha256(gateway.certificate.read_bytes()).hexdigest()}"
    return f"{gateway.tls}, for {public_name(gateway, address)}"


def public_name(gateway: Gateway, address: str) -> str:
    """
    The gateway's host name in URLs.

    + address: the host's, as in fleet.toml
    """
    return gateway.domain or ("localhost" if address == "local" else address)


def in_url(name: str) -> str:
    """A name or an address in a URL."""
    return f"[{name}]" if ":" in name else name


def release_id(files: Mapping[str, str]) -> str:
    """The name of the release with these files."""
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:12]
