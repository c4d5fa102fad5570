"""Settings of the gateway role."""

import re
from collections.abc import Container, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from roles.settings import ControllerPath, Settings, Url, is_url, raise_all
from training.bounds import LONGEST_WAIT

Port = Annotated[int, Field(ge=1, le=65535)]
Domain = Annotated[str, Field(max_length=253, pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9-]+)*$")]

HOST = re.compile(r"[a-z0-9_][a-z0-9_.-]*|[0-9a-f:.]+")
"""A name, or an IPv6 address without its brackets, as urlsplit gives it."""
PATH = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9._~-]*)*")


def is_public_url(value: str) -> str:
    """An https:// URL as browsers write it in `Origin`, with a path if it has one. ValueError if it is none."""
    url = urlsplit(is_url(value))
    path = url.path.rstrip("/")
    if url.scheme != "https" or not url.hostname or url.username is not None or url.query or url.fragment:
        raise ValueError(f'{value!r} is not what a provider\'s page shows: give it as "https://NAME:PORT"')
    if not HOST.fullmatch(url.hostname):
        says = "has a name with other characters than browsers send: give it as they do, e.g. xn--bcher-kva.example"
        raise ValueError(f"{value!r} {says}")
    if not PATH.fullmatch(path):
        raise ValueError(f"{value!r} has a path with other characters than letters, digits and . _ ~ -")
    if path.split("/")[1:2] == ["sdfleet"]:
        raise ValueError(f"{value!r} has a path below /sdfleet, where the gateway has its own pages")
    name = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"https://{name}{'' if url.port in (None, 443) else f':{url.port}'}{path}"


PublicUrl = Annotated[str, AfterValidator(is_public_url)]


SHOWN = {
    "webui_port": "webui",
    "comfyui_port": "comfyui",
    "lora_scripts_port": "lora_scripts",
    "tensorboard_port": "lora_scripts",
}
"""Setting of a port -> the role that is shown there."""


class Gateway(Settings):
    """TLS and a login in front of what a host serves; its hosts are those of the group gateway."""

    enabled: bool = Field(default=True, description="false closes it: the unit is stopped and does not come back.")
    domain: Domain | None = Field(
        default=None, description="Name that people type; unset means the host's address in fleet.toml."
    )
    listen: tuple[IPv4Address | IPv6Address, ...] = Field(
        default=(IPv4Address("0.0.0.0"),),
        min_length=1,
        description='Addresses to listen on; name a VPN\'s to stay inside it, add "::" for IPv6.',
    )
    webui_port: Port = Field(
        default=443,
        description='HTTPS port of the WebUI; with tls = "provider" the plain one that the provider opens, '
        "for the one service that is shown.",
    )
    comfyui_port: Port = Field(default=8444, description='HTTPS port of ComfyUI; none with tls = "provider".')
    lora_scripts_port: Port = Field(default=8443, description='HTTPS port of lora-scripts; none with tls = "provider".')
    tensorboard_port: Port = Field(default=9443, description="HTTPS port of lora-scripts' TensorBoard; likewise.")
    http_port: Port | None = Field(
        default=80,
        description='Plain port that leads to HTTPS and answers ACME; none where unset, or with tls = "provider".',
    )
    tls: Literal["self-signed", "acme", "given", "provider"] = Field(
        default="self-signed",
        description="Where the certificate comes from: made on the host, its fingerprint printed; from an ACME "
        "authority such as Let's Encrypt, by certbot; or given below. provider: from a proxy of the provider's, which "
        "speaks plain HTTP to this gateway; passwords travel open between the two.",
    )
    public_urls: tuple[PublicUrl, ...] = Field(
        default=(),
        description='tls = provider: what people open, as the provider\'s page shows it: ["https://NAME:8443"]; '
        "with the path, if it has one.",
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(),
        description="tls = provider: addresses of its proxy, whose X-Forwarded-For is believed; unset: wrong passwords "
        "that come through it count as one address's.",
    )
    certificate: ControllerPath | None = Field(
        default=None,
        description="tls = given: PEM file on the controller with the chain (path relative to fleet.toml); its key is "
        "secrets.gateway_key.",
    )
    acme_email: str | None = Field(
        default=None, pattern=r"^[^@\s]+@[^@\s]+$", description="tls = acme: address for the authority's warnings."
    )
    acme_directory: Url = Field(
        default="https://acme-v02.api.letsencrypt.org/directory",
        description="tls = acme: the authority's directory.",
    )
    max_upload_mb: int = Field(
        default=512, ge=1, le=1_000_000, description="Largest request (img2img batches, datasets), in MB."
    )
    answer_timeout: int = Field(
        default=3600, ge=30, le=LONGEST_WAIT, description="How long a service may be silent while it computes, in s."
    )
    login_attempts: int = Field(
        default=10,
        ge=1,
        le=1_000_000,
        description="Wrong passwords a minute, for one name or from one address, before each further attempt waits.",
    )
    session_hours: int = Field(
        default=24, ge=1, le=87_600, description="How long a session lasts after its login, in h."
    )

    @model_validator(mode="after")
    def _whole(self) -> "Gateway":
        problems = list(self._of_the_provider())
        if (self.tls == "given") != (self.certificate is not None):
            problems.append('certificate: goes with tls = "given", and that with a certificate')
        if self.tls == "acme" and (self.domain is None or self.http_port != 80):
            problems.append('domain: tls = "acme" needs a domain, and http_port = 80 to prove that it is yours')
        if not self.acme_directory.startswith("https://"):
            problems.append("acme_directory: must be an https:// URL")
        raise_all(problems, self)
        return self

    def _of_the_provider(self) -> Iterator[str]:
        """What is wrong with the settings of tls = "provider"."""
        if self.tls != "provider":
            for key in ("public_urls", "trusted_proxies"):
                if getattr(self, key):
                    yield f'{key}: goes with tls = "provider"'
            return
        if not self.public_urls:
            yield 'public_urls: tls = "provider" needs what the provider\'s page shows, e.g. ["https://NAME:8443"]'
        if len({urlsplit(url).path for url in self.public_urls}) > 1:
            yield "public_urls: must have the same path"
        if self.domain:
            yield 'domain: is not used with tls = "provider"; public_urls has the names'

    @property
    def path(self) -> str:
        """Path below which people see it, as /a/b; empty for none."""
        return urlsplit(self.public_urls[0]).path if self.public_urls else ""

    @property
    def origins(self) -> tuple[str, ...]:
        """What browsers call its pages, if that cannot be seen from a request."""
        return tuple(url.removesuffix(self.path) for url in self.public_urls)

    @property
    def redirect_port(self) -> int | None:
        """The plain port that leads to HTTPS."""
        return None if self.tls == "provider" else self.http_port

    def opened(self, roles: Container[str]) -> dict[str, int]:
        """Setting -> port that it opens on a host with `roles`; a provider opens one, for the one service shown."""
        served = [name for name, role in SHOWN.items() if role in roles]
        names = ["webui_port"][: len(served)] if self.tls == "provider" else served
        plain = {"http_port": self.redirect_port} if self.redirect_port else {}
        return {name: getattr(self, name) for name in names} | plain
