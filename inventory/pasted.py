"""How a host is reached, as a provider's page shows it: an ssh command, or user, address and port in one word."""

import re
import shlex
from typing import Any
from urllib.parse import urlsplit

WITH_VALUE = "BbcDEeFIiJLlmOopQRSWw"
"""OpenSSH's options that take a value."""

USED = {"p": "port", "l": "user", "i": "key", "J": "jump"}
PLACE = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^@:\[\]\s]+))(?::(?P<port>\d+))?")


def unfold(raw: dict[str, Any]) -> dict[str, Any]:
    """A host's table whose `address` may be `ssh -p 2222 root@HOST`, `ssh://root@HOST:2222` or `root@HOST:2222`.

    What it says of user, port, key and jump becomes their settings. Raises ValueError if one of them is set beside it
    to something else.
    """
    address = raw.get("address")
    if not isinstance(address, str):
        return raw
    found = _command(address) if address.strip().startswith("ssh ") else _place(address)
    if found is None:
        return raw
    for key, value in found.items():
        if key != "address" and key in raw and str(raw[key]) != str(value):
            raise ValueError(f"address says {key} {value}, the setting beside it says {raw[key]}; keep one of them")
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
        if letter in USED:
            found[USED[letter]] = int(value) if letter == "p" and value.isdigit() else value
    return found | place if place else None


def _place(text: str) -> dict[str, Any] | None:
    """[USER@]HOST[:PORT] or its URL taken apart; None if it is an address alone, or none at all."""
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
