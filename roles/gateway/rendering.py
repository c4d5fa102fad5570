"""The gateway's files as text: what apply writes and verify compares with."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from roles.gateway.backends import Backend
from roles.gateway.config import Gateway
from roles.paths import ACME, GATEWAY, UNITS, Paths
from roles.programs import digest
from templates import render

NAME = "sdfleet-gateway"
"""Of its unit, and of its folders below /run and /var/cache."""
UNIT = UNITS / f"{NAME}.service"
CERTIFICATE, KEY = GATEWAY / "tls.crt", GATEWAY / "tls.key"
CREDENTIALS = PurePosixPath("/run/credentials") / UNIT.name
"""Where systemd puts what LoadCredential names."""
RELEASES, CURRENT = GATEWAY / "releases", GATEWAY / "current"
CONFIG, USERS = "nginx.conf", "users"
"""Files of a release."""
CONNECTIONS = 2048
"""Of each of nginx's two workers, those to the services included."""
OPEN_FILES = 2 * CONNECTIONS + 512
"""A connection may have a file of its own, for an upload or an answer that does not fit into memory."""


def nginx_conf(gateway: Gateway, address: str, backends: Sequence[Backend]) -> str:
    """
    nginx's configuration; it holds no secret.

    + address: the host's, as in fleet.toml: where plain HTTP leads without a domain
    """
    return render(
        "gateway/nginx.conf.j2",
        backends=backends,
        listen=[f"[{address}]" if address.version == 6 else str(address) for address in gateway.listen],
        http_port=gateway.http_port,
        public=in_url(public_name(gateway, address)),
        trusted=gateway.tls != "self-signed",
        upload=gateway.max_upload_mb,
        timeout=gateway.answer_timeout,
        runtime=PurePosixPath("/run") / NAME,
        cache=PurePosixPath("/var/cache") / NAME,
        credentials=CREDENTIALS,
        connections=CONNECTIONS,
        acme=ACME,
    )


def unit_text(gateway: Gateway, address: str, paths: Paths) -> str:
    """
    The unit file.

    + address: the host's address, for the certificate of a gateway without a domain
    """
    return render(
        "gateway/sdfleet-gateway.service.j2",
        certificate=certificate_line(gateway, address),
        # It restarts for another login program, and for no other one of ours.
        programs=digest("gateway_login"),
        onhost=paths.onhost,
        home=GATEWAY,
        credentials=CREDENTIALS,
        runtime=PurePosixPath("/run") / NAME,
        hours=gateway.session_hours,
        attempts=gateway.login_attempts,
        files=OPEN_FILES,
    )


def certificate_line(gateway: Gateway, address: str) -> str:
    """The line of the unit that names the certificate that it serves with."""
    return f"# Certificate: {certificate_id(gateway, address)}"


def certificate_id(gateway: Gateway, address: str) -> str:
    """What decides the certificate, in words: the unit is another, and restarts, when it changes."""
    if gateway.certificate is not None:
        return f"given, sha256 {hashlib.sha256(gateway.certificate.read_bytes()).hexdigest()}"
    return f"{gateway.tls}, for {public_name(gateway, address)}"


def public_name(gateway: Gateway, address: str) -> str:
    """
    What people type to come to the gateway.

    + address: the host's, as in fleet.toml
    """
    return gateway.domain or ("localhost" if address == "local" else address)


def in_url(name: str) -> str:
    """A name or an address as it stands in a URL."""
    return f"[{name}]" if ":" in name else name


def release_id(files: Mapping[str, str]) -> str:
    """Name of the release that has these files."""
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:12]
