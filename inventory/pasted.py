"""Parse an address as a provider's page shows it: an ssh command, or USER@HOST:PORT."""

import re
import shlex
from typing import Any
from urllib.parse import urlsplit

WITH_VALUE = "BbcDEeFIiJLlmOopQRSWw"
"""OpenSSH's options that take a value."""

OPTIONS = {"port": "port", "user": "user", "identityfile": "key", "proxyjump": "jump"}
"""Options of `-o` that have a setting in fleet.toml."""

ELSEWHERE = ("hostname", "proxycommand", "proxyusefdpass", "match", "include")
"""Options of `-o` that have none, and without which the host cannot be reached."""

USED = {"p": "port", "l": "user", "i": "key", "J": "jump"}
PLACE = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^@:\[\]\s]+))(?::(?P<port>\d+))?")


def unfold(raw: dict[str, Any]) -> dict[str, Any]:
    """Split an `address` like `ssh -p 2222 root@HOST`, `ssh://root@HOST:2222` or `root@HOST:2222` in a host's table.

    User, port, key and jump become settings. Raises ValueError if the table sets one of them to another value.
    """
    address = raw.get("address")
    if not isinstance(address, str):
        return raw
    found = _command(address) if address.strip().startswith("ssh ") else _place(address)
    if found is None:
        return raw
    for key, value in found.items():
        if key != "address" and key in raw and str(raw[key]) != str(value):
            raise ValueError(f"address has {key} {value}, but {key} is set to {raw[key]}; keep one of them")
    return raw | found


def _command(text: str) -> dict[str, Any] | None:
    try:
        words = shlex.split(text)[1:]
    except ValueError:
        return None
    found: dict[str, Any] = {}
    place = None
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            place = place or _place(word) or {"address": word}
            continue
        letter, value = word[1:2], word[2:]
        if letter in WITH_VALUE and not value:
            if not words:
                return None
            value = words.pop(0)
        if letter == "o":
            found |= _option(value)
        if letter == "F":
            raise ValueError(f"-F {value}: ssh configuration files are not read; set `user`, `port` and `jump` here")
        if letter in USED:
            found[USED[letter]] = int(value) if letter == "p" and value.isdigit() else value
    return found | place if place else None


def _option(text: str) -> dict[str, Any]:
    """The setting for `-o NAME=VALUE`; none for an option that only changes ssh's behaviour."""
    name, value = (text.split("=", 1) if "=" in text else [*text.split(None, 1), ""])[:2]
    name, value = name.strip().lower(), value.strip()
    if name in ELSEWHERE:
        raise ValueError(f"-o {text} is not supported; use `jump` for hosts behind another")
    if name not in OPTIONS:
        return {}
    return {OPTIONS[name]: int(value) if name == "port" and value.isdigit() else value}


def _place(text: str) -> dict[str, Any] | None:
    """Split [USER@]HOST[:PORT] or its URL; None for a plain address or an invalid one."""
    text = text.strip()
    if text.startswith("ssh://"):
        try:
            text = urlsplit(text).netloc
        except ValueError:
            return None
    match = PLACE.fullmatch(text)
    if not match or match["host"] == text:
        return None
    found: dict[str, Any] = {"address": match["v6"] or match["host"]}
    if match["user"]:
        found["user"] = match["user"]
    if match["port"]:
        found["port"] = int(match["port"])
    return found
