"""Settings of the gateway role."""

from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Literal

from pydantic import Field, model_validator

from roles.settings import ControllerPath, Settings, Url, raise_all
from training.bounds import LONGEST_WAIT

Port = Annotated[int, Field(ge=1, le=65535)]
Domain = Annotated[str, Field(max_length=253, pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9-]+)*$")]


class Gateway(Settings):
    """TLS and a login in front of WebUI, lora-scripts and TensorBoard; its hosts are those of the group gateway."""

    enabled: bool = Field(default=True, description="false closes it: the unit is stopped and does not come back.")
    domain: Domain | None = Field(
        default=None, description="Name that people type; unset means the host's address in fleet.toml."
    )
    listen: tuple[IPv4Address | IPv6Address, ...] = Field(
        default=(IPv4Address("0.0.0.0"),),
        min_length=1,
        description='Addresses to listen on; name a VPN\'s to stay inside it, add "::" for IPv6.',
    )
    webui_port: Port = Field(default=443, description="HTTPS port of the WebUI.")
    lora_scripts_port: Port = Field(default=8443, description="HTTPS port of lora-scripts.")
    tensorboard_port: Port = Field(default=9443, description="HTTPS port of lora-scripts' TensorBoard.")
    http_port: Port | None = Field(
        default=80, description="Plain port that leads to HTTPS and answers ACME; unset means none."
    )
    tls: Literal["self-signed", "acme", "given"] = Field(
        default="self-signed",
        description="Where the certificate comes from: made on the host, its fingerprint printed; from an ACME "
        "authority such as Let's Encrypt, by certbot; or given below.",
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
        problems = []
        if (self.tls == "given") != (self.certificate is not None):
            problems.append('certificate: goes with tls = "given", and that with a certificate')
        if self.tls == "acme" and (self.domain is None or self.http_port != 80):
            problems.append('domain: tls = "acme" needs a domain, and http_port = 80 to prove that it is yours')
        if not self.acme_directory.startswith("https://"):
            problems.append("acme_directory: must be an https:// URL")
        ports = [self.webui_port, self.lora_scripts_port, self.tensorboard_port, self.http_port]
        if len(set(ports)) < len(ports):
            problems.append("webui_port, lora_scripts_port, tensorboard_port and http_port must differ")
        raise_all(problems, self)
        return self
