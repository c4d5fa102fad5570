"""The gateway's certificate: given, self-signed on the host, or from an ACME authority; and its fingerprint."""

import base64
import hashlib
import logging
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath

from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.facts.seen import HostSurvey
from roles.facts.survey import Survey
from roles.gateway.backends import Backend
from roles.gateway.config import Gateway
from roles.gateway.rendering import (
    CERTIFICATE,
    CONFIG,
    CURRENT,
    KEY,
    UNIT,
    certificate_id,
    has_certificate,
    in_url,
    public_name,
)
from roles.managers import Manager
from roles.operations.files import Commands, private_file
from roles.paths import ACME, CERTBOT_LIVE, CERTBOT_RENEWAL, GATEWAY, Paths
from roles.programs import command
from roles.settings import SettingError

PROGRAM = "gateway_certificate"
Pair = tuple[str, str]
"""Certificate (with its chain) and key, PEM."""


def given_certificate(gateway: Gateway, secrets: Mapping[str, str]) -> Pair | None:
    """Certificate and key from the settings; None if they have none."""
    if gateway.certificate is None:
        return None
    if "gateway_key" not in secrets:
        raise SettingError("secrets.gateway_key", "gateway.certificate needs its key; say where it is")
    try:
        chain = gateway.certificate.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingError("gateway.certificate", f"cannot read {gateway.certificate}: {error.strerror}") from error
    pair = chain, secrets["gateway_key"].rstrip("\n") + "\n"
    _refuse_unusable(pair)
    return pair


def _refuse_unusable(pair: Pair) -> None:
    """Raise SettingError if certificate and key cannot be used."""
    # Imported here: it takes a quarter of a second, and only a given certificate needs it.
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        first = x509.load_pem_x509_certificates(pair[0].encode())[0]
    except ValueError:
        raise SettingError("gateway.certificate", "holds no certificate in PEM") from None
    try:
        key = load_pem_private_key(pair[1].encode(), None)
    except (ValueError, TypeError):
        says = "is no private key in PEM, or has a passphrase, which nobody could type on the host"
        raise SettingError("secrets.gateway_key", says) from None
    if key.public_key() != first.public_key():
        raise SettingError("secrets.gateway_key", "is not the key of the first certificate in gateway.certificate")
    if first.not_valid_after_utc < datetime.now(UTC):
        raise SettingError("gateway.certificate", f"expired on {first.not_valid_after_utc:%Y-%m-%d}")


@operation()
def certificate(
    gateway: Gateway, pair: Pair | None, address: str, paths: Paths, seen: HostSurvey, manager: Manager
) -> Commands:
    """
    Install the given certificate, or create a self-signed one, which is also used until an authority has issued one.

    Where TLS is the provider's, there is none.

    + pair: certificate and key from the settings
    + address: the host's, as in fleet.toml
    + seen: a survey that read certificate, key and unit, and looked for certbot's certificate
    """
    if not has_certificate(gateway):
        host.noop("TLS is the provider's")
        return
    there = (seen.text(CERTIFICATE), seen.text(KEY))
    as_wanted = None not in there and _names(seen.text(manager.file(UNIT.name)), certificate_id(gateway, address))
    if there == pair if pair else as_wanted:
        host.noop("the certificate is installed")
        return
    make = command(paths.onhost, PROGRAM, "--folder", GATEWAY)
    if pair:
        for place, content in zip((CERTIFICATE, KEY), pair, strict=True):
            yield from private_file(place, content)
    elif gateway.tls == "acme" and seen.entry(lineage(gateway)):
        yield f"RENEWED_LINEAGE={lineage(gateway)} {shlex.join(make)}"
    else:
        yield shlex.join([*make, "--self-signed", public_name(gateway, address)])


def unused_certificate(gateway: Gateway, seen: HostSurvey) -> list[str]:
    """The command that removes a certificate that is used no more; the way back to it needs it until then.

    + seen: a survey that looked at certificate and key
    """
    if has_certificate(gateway) or not any(map(seen.entry, (CERTIFICATE, KEY))):
        return []
    return [f"rm -f {CERTIFICATE} {KEY}"]


def _names(unit: str | None, mark: str) -> bool:
    """Whether a unit's text has a mark as a whole, not as the beginning of another: 203.0.113.1 of 203.0.113.10."""
    return re.search(rf'(?<![^\s"]){re.escape(mark)}(?![^\s"])', unit or "") is not None


def lineage(gateway: Gateway) -> PurePosixPath:
    """Certbot's folder for the gateway's domain."""
    return CERTBOT_LIVE / (gateway.domain or "none")


def certbot(gateway: Gateway, paths: Paths) -> list[str]:
    """Certbot's command line for the first certificate; certbot reuses its options for renewals.

    Its timer renews the certificate, and its hook installs it in the gateway.
    """
    hook = shlex.join(command(paths.onhost, PROGRAM, "--folder", GATEWAY))
    words = ["certbot", "certonly", "--non-interactive", "--agree-tos", "--webroot", "--webroot-path", str(ACME)]
    words += ["--server", gateway.acme_directory, "--domain", gateway.domain or "", "--deploy-hook", hook]
    return [*words, *(["--email", gateway.acme_email] if gateway.acme_email else ["--register-unsafely-without-email"])]


def renewal(gateway: Gateway) -> PurePosixPath:
    """Where certbot keeps the command line of the gateway's certificate."""
    return CERTBOT_RENEWAL / f"{gateway.domain or 'none'}.conf"


def new_hook(gateway: Gateway, paths: Paths, seen: HostSurvey) -> list[str]:
    """The command that has certbot call today's program where it calls one of an older sdfleet.

    + seen: a survey that read `renewal`
    """
    old, new = f"python3 {paths.old_programs}/{PROGRAM}.py", shlex.join(command(paths.onhost, PROGRAM))
    if old not in (seen.text(renewal(gateway)) or ""):
        return []
    return [f"sed -i {shlex.quote(f's#{old}#{new}#')} {shlex.quote(str(renewal(gateway)))}"]


@operation()
def announce_addresses(
    gateway: Gateway,
    address: str,
    backends: Sequence[Backend],
    unit: str,
    seen: HostSurvey,
    manager: Manager,
) -> Commands:
    """
    Print the addresses of the services, and the fingerprint of its certificate, if any, to compare in the browser.

    + unit: its unit's wanted text
    + seen: a survey that looked at the unit; nothing is printed if it already runs
    """
    if seen.text(manager.file(UNIT.name)) == unit and seen.unit(UNIT.name).active:
        host.noop("the addresses have not changed")
        return
    logger = logging.getLogger("pyinfra").warning
    if not has_certificate(gateway):
        yield f"test -s {CURRENT / CONFIG}"
        places = ", ".join(
            f"{b.name} {url}/ (port {b.public_port} here)" for b in backends for url in gateway.public_urls
        )
        host.log(f"gateway: {places}; TLS is the provider's", logger)
        return
    yield f"test -s {CERTIFICATE}"
    pem = host.get_fact(Survey, texts=[CERTIFICATE]).text(CERTIFICATE) or ""
    name = in_url(public_name(gateway, address))
    places = ", ".join(f"{b.name} https://{name}{_port(b)}/" for b in backends)
    host.log(f"gateway: {places}; the certificate's SHA-256 fingerprint is {fingerprint(pem)}", logger)


def _port(backend: Backend) -> str:
    """The port in a URL; the default port is omitted."""
    return "" if backend.public_port == 443 else f":{backend.public_port}"


def fingerprint(pem: str) -> str:
    """SHA-256 of the first certificate of a PEM text, in the notation of browsers."""
    body = pem.partition("-----BEGIN CERTIFICATE-----")[2].partition("-----END")[0]
    return hashlib.sha256(base64.b64decode(body)).digest().hex(":").upper()
