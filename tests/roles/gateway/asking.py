"""How tests ask a gateway, on its host and from a browser beside it."""

import contextlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tomlkit

from lab import Lab, layers
from tests.light import fleet
from tests.light.fleet import LightFleet

PASSWORD = "correct-horse-canary-58"
LOGIN = ("ann", PASSWORD)
UPGRADE = (
    "--http1.1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' "
    "-H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='"
)
"""What makes curl's request a websocket's handshake."""
REFUSED = {"400", "401", "404"}
NOTHING = "000"
"""What curl calls the status of no answer."""
REQUESTS = [
    "/",
    "/sdapi/v1/txt2img",
    "/sdapi/v1/img2img",
    "/sdapi/v1/options",
    "/sdapi/v1/sd-models",
    "/sdapi/v1/loras",
    "/sdapi/v1/refresh-loras",
    "/sdapi/v1/progress",
    "/sdapi/v1/server-kill",
    "/internal/ping",
    "/internal/sysinfo",
    "/internal/sysinfo-download",
    "/file=/etc/passwd",
    "/file=/srv/sdfleet/data/webui/config.json",
    "/file=/etc/sdfleet/secrets/gateway_logins",
    "/file=../../../etc/shadow",
    "//sdapi/v1/loras",
    "/%73dapi/v1/loras",
    "/sdfleet/../sdapi/v1/loras",
    "/sdfleet/health/../../internal/sysinfo",
    "/sdfleet/probe",
    "/queue/join",
    "/queue/data",
    "/docs",
    "/openapi.json",
]


@contextlib.contextmanager
def running(folder: Path) -> Iterator[LightFleet]:
    """One host with the light WebUI and a gateway, provisioned, for the length of a `with` block."""
    with layers.attached(PROVISIONED, folder) as lab:
        yield LightFleet(lab, folder)


def _provision(lab: Lab, folder: Path) -> None:
    light = fleet.written(lab, folder)
    document = tomlkit.parse(light.file.read_text())
    document["hosts"]["h1"]["groups"] = ["webui", "gateway"]
    document["secrets"] = {"gateway_logins": {"file": "logins"}}
    light.file.write_text(tomlkit.dumps(document))
    (folder / "logins").write_text(f"{LOGIN[0]}:{PASSWORD}\n")
    (folder / "logins").chmod(0o600)
    assert light.sdfleet("lock").code == 0
    done = light.sdfleet("apply")
    assert done.code == 0, done.text
    assert "fingerprint" in done.text.lower()
    assert PASSWORD not in done.text


PROVISIONED = layers.Scene("gateway", 1, _provision, (Path(__file__), *fleet.PROVISIONED.made_by))


@dataclass(frozen=True)
class Asking:
    """Requests to the gateway of one host, made on that host."""

    light: LightFleet
    base: str = "https://127.0.0.1"
    host: str = "h1"

    def curl(self, path: str, options: str = "") -> str:
        """What curl prints; a request that goes on for ever is ended after 60 s."""
        return self.light.on(self.host, f"curl -s -k -m 60 --path-as-is {options} '{self.base}{path}'")

    def status(self, path: str, options: str = "") -> str:
        """The status code."""
        return self.curl(path, f"-o /dev/null -w '%{{http_code}}' {options}")

    def cookie(self, name: str = LOGIN[0], password: str = PASSWORD) -> str:
        """The session's cookie that a login gives, as curl's option; empty if it gives none."""
        head = self.curl("/sdfleet/login", f"-o /dev/null -D - -u '{name}:{password}'")
        given = [line.partition(":")[2].strip() for line in head.splitlines() if line.lower().startswith("set-cookie:")]
        return f"-H 'Cookie: {given[0].partition(';')[0]}'" if given else ""

    def table(self, base: str, outside: bool = False) -> dict[str, str]:
        """Status of each of REQUESTS, without a login; asked from elsewhere in the lab's network if not on the host."""
        words = ["curl", "-s", "-k", "-m", "30", "--connect-timeout", "5", "--path-as-is", "-w", "%{http_code}\\n"]
        for path in REQUESTS:
            words += ["-o", "/dev/null", f"{base}{path}"]
        if outside:
            answer = self.light.lab.run_in_netns(words, timeout=300).stdout
        else:
            answer = self.light.lab.ssh(self.host, shlex.join(words)).stdout
        return dict(zip(REQUESTS, answer.split(), strict=True))

    def handshake(self, path: str, options: str = "") -> tuple[str, str]:
        """Status line and body of the answer to a websocket's handshake, up to the queue's first message."""
        words = f"curl -s -k -m 60 -i -N {UPGRADE} {options} '{self.base}{path}'"
        answer = self.light.on(
            self.host,
            f"""
            f=$(mktemp); {words} --output $f & p=$!
            while kill -0 $p 2>/dev/null && ! grep -q send_hash $f; do sleep 0.1; done
            kill $p 2>/dev/null; tr -cd '[:print:]\\n' <$f; rm $f
            """,
        )
        head, _, body = answer.partition("\n\n")
        return head.splitlines()[0], body

    def pin(self, certificate: str = "/etc/sdfleet/gateway/tls.crt") -> str:
        """The browser's flag by which it takes this gateway's key and no other that it does not know."""
        key = f"openssl x509 -in {certificate} -noout -pubkey | openssl pkey -pubin -outform der"
        digest = self.light.on(self.host, f"{key} | openssl dgst -sha256 -binary | base64")
        return f"--ignore-certificate-errors-spki-list={digest}"

    @property
    def address(self) -> str:
        """The host's address for others in the lab's network."""
        return next(host.address for host in self.light.lab.hosts if host.name == self.host)

    @property
    def seen_from_outside(self) -> str:
        """Where others find the gateway."""
        return f"https://{self.address}"
