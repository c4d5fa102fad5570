"""The proxy that a container's provider offers for GitHub and Hugging Face: CONNECT alone, and what lies behind it.

The lab has no internet, so it ends TLS itself, with certificates of an authority of its own (`authority.pem` beside
the content), and answers as the stand-ins do. Each CONNECT is a line of the log, whose target is the name asked
for; a fault of the kind "status" refuses it, as proxies with a list of allowed hosts do.
"""

import datetime
import ssl
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from lab.upstreams.http import Application, Reply, Request
from lab.upstreams.server import Handler, Server

STORAGE = "cdn-lfs.huggingface.co"
YEARS = datetime.timedelta(days=3650)


class AcademicProxy(Server):
    """A server to which clients send CONNECT; `sites` are the names that it leads to."""

    sites: Mapping[str, Server]
    context: ssl.SSLContext

    def lead_to(self, sites: Mapping[str, Application], folder: Path) -> None:
        """Choose what lies behind it, and make the certificates, below `folder`."""
        self.sites = {
            name: Server(f"{self.name}:{name}", self.address, app, self.faults, self.log) for name, app in sites.items()
        }
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(_certificates(folder, tuple(sites)))

    def handler(self) -> type[Handler]:
        """What answers a connection."""
        return type("ProxyHandler", (_ProxyHandler,), {"owner": self})


class _ProxyHandler(Handler):
    owner: AcademicProxy

    def do_CONNECT(self) -> None:
        name = self.path.rpartition(":")[0]
        met = self.owner.faults.take(self.owner.name, "CONNECT", name)
        site = self.owner.sites.get(name)
        status = met["status"][0].status if "status" in met else 200 if site else 502
        if self.owner.log:
            self.owner.log.begin()
            self.owner.log.end(
                server=self.owner.name,
                method="CONNECT",
                target=name,
                range=None,
                status=status,
                sent=0,
                authorized="Proxy-Authorization" in self.headers,
            )
        self.close_connection = True
        self.send_response(status)
        if status != 200:
            self.send_header("Content-Length", "0")
        self.end_headers()
        if status == 200 and site:
            try:
                with self.owner.context.wrap_socket(self.connection, server_side=True) as private:
                    site.handler()(private, self.client_address, self.server)
            except (ssl.SSLError, ConnectionError):
                return  # who does not trust the authority hangs up


def of_github(app: Application) -> Application:
    """GitHub itself, by the stand-in that is a proxy before it."""
    return lambda request: app(replace(request, target=f"/https://github.com{request.target}"))


def over_tls(app: Application, storage: str) -> Application:
    """A hub that redirects to its storage over TLS, by one that redirects to another port."""

    def answer(request: Request) -> Reply:
        reply = app(request)
        if location := reply.headers.get("Location"):
            reply.headers["Location"] = f"https://{storage}/{location.split('/', 3)[3]}"
        return reply

    return answer


def _certificates(folder: Path, names: tuple[str, ...]) -> Path:
    """A file with key and certificate for these names; the authority's is in `authority.pem`."""
    folder.mkdir(parents=True, exist_ok=True)
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = _called("sdfleet lab: do not trust this elsewhere")
    own = _signed(issuer, issuer, authority, authority, x509.BasicConstraints(ca=True, path_length=None))
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    certificate = _signed(_called(names[0]), issuer, key, authority, alternatives)
    (folder / "authority.pem").write_bytes(own.public_bytes(Encoding.PEM))
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = folder / "academic-proxy.pem"
    chain.write_bytes(secret + certificate.public_bytes(Encoding.PEM))
    return chain


def _called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - YEARS).not_valid_after(now + YEARS)
    return builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints)).sign(
        by, hashes.SHA256()
    )
