"""The gateway's files as text: what apply writes and verify compares with."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from roles.gateway.backends import Backend
from roles.gateway.config import Gateway
from roles.paths import ACME, GATEWAY, UNITS
from templates import render

NAME = "sdfleet-gateway"
"""Of its unit, and of its folders below /run and /var/cache."""
UNIT = UNITS / f"{NAME}.service"
CERTIFICATE, KEY = GATEWAY / "tls.crt", GATEWAY / "tls.key"
CREDENTIALS = PurePosixPath("/run/credentials") / UNIT.name
"""Where systemd puts what LoadCredential names."""
RELEASES, CURRENT = GATEWAY / "releases", GATEWAY / "current"
CONFIG, USERS, SESSIONS = "nginx.conf", "users", "sessions"
"""Files of a release."""


def nginx_conf(gateway: Gateway, backends: Sequence[Backend]) -> str:
    """nginx's configuration; it holds no secret."""
    return render(
        "gateway/nginx.conf.j2",
        backends=backends,
        listen=[f"[{address}]" if address.version == 6 else str(address) for address in gateway.listen],
        http_port=gateway.http_port,
        domain=gateway.domain,
        attempts=gateway.login_attempts,
        session=gateway.session_hours * 3600,
        upload=gateway.max_upload_mb,
        timeout=gateway.answer_timeout,
        runtime=PurePosixPath("/run") / NAME,
        cache=PurePosixPath("/var/cache") / NAME,
        credentials=CREDENTIALS,
        acme=ACME,
    )


def unit_text(gateway: Gateway, address: str) -> str:
    """
    The unit file.

    + address: the host's address, for the certificate of a gateway without a domain
    """
    return render(
        "gateway/sdfleet-gateway.service.j2",
        certificate=certificate_id(gateway, address),
        home=GATEWAY,
        credentials=CREDENTIALS,
        runtime=PurePosixPath("/run") / NAME,
    )


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


def release_id(files: Mapping[str, str]) -> str:
    """Name of the release that has these files."""
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:12]
