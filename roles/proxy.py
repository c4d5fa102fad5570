"""The forward proxy of a host, and the destinations that are reached without it."""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from roles.settings import LABELS, mistyped_ip

ALWAYS_DIRECT = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Proxy:
    """A host's proxy settings."""

    url: str = field(default="", repr=False)
    """Empty for none; may hold a login, and is a secret then."""
    direct: tuple[str, ...] = ()
    """Names, domains and addresses that are reached without it, besides the host itself."""

    @property
    def secret(self) -> bool:
        """Whether only root may read it."""
        return "@" in urlsplit(self.url).netloc

    @property
    def place(self) -> tuple[str, int]:
        """Name and port of the proxy."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def no_proxy(self) -> tuple[str, ...]:
        """All destinations that are reached without it."""
        return tuple(dict.fromkeys((*ALWAYS_DIRECT, *self.direct)))

    def environment(self) -> dict[str, str]:
        """The variables for curl, git, uv, pip, apt and Python, all of which read the lower-case names."""
        if not self.url:
            return {}
        return {"http_proxy": self.url, "https_proxy": self.url, "no_proxy": ",".join(self.no_proxy)}

    def curl_config(self) -> str:
        """The same for curl's option --config."""
        return f'proxy = "{self.url}"\nnoproxy = "{",".join(self.no_proxy)}"\n' if self.url else ""


def is_proxy(value: str, *, login: bool = False) -> str:
    """http(s)://HOST:PORT; "" for none. Raises ValueError, which does not repeat a login.

    + login: whether USER:PASSWORD@ is allowed
    """
    if not value:
        return value
    form = "http://HOST:PORT"
    try:
        parts = urlsplit(value.rstrip("/"))
        port = parts.port
    except ValueError:
        raise ValueError(f"is no proxy; write {form}") from None
    if "@" in value and not login:
        raise ValueError('has a login in it, which is a secret; give it by reference: { env = "NAME" }')
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"is no proxy; write {form} (SOCKS is not supported, as apt and Python do not speak it)")
    if why := mistyped_ip(parts.hostname):
        raise ValueError(f"has {why}")
    if parts.path or parts.query or parts.fragment:
        raise ValueError(f"has more than a host and a port; write {form}")
    if port == 0 or re.search(r"[\s\"'\\<>`{}|^$;]", value) or not value.isprintable():
        raise ValueError(f"has a character that no URL has; write {form}, with a password percent-encoded")
    return value.rstrip("/")


def is_direct(value: str) -> str:
    """A host name, a domain and its subdomains (`.example.com`) or an IP address."""
    name = value.removeprefix("*").removeprefix(".")
    if "/" in value:
        raise ValueError(f"{value!r} is a network, which curl and Python do not understand here; name the addresses")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        if not LABELS.fullmatch(name):
            raise ValueError(f"{value!r} is no host name, domain or IP address") from None
        if why := mistyped_ip(name):
            raise ValueError(f"{value!r} is {why}") from None
    return value.removeprefix("*")


Direct = Annotated[str, AfterValidator(is_direct)]
