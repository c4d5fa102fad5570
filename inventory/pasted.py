"""Parse an address as a provider's page shows it: an ssh command, or USER@HOST:PORT."""

import ipaddress
import re
import shlex
from collections.abc import Iterator
from getopt import GetoptError, getopt
from typing import Any
from urllib.parse import urlsplit

from inventory.connection import LOCAL

OPTIONS = "46AaCfGgKkMNnqsTtVvXxYyB:b:c:D:E:e:F:I:i:J:L:l:m:O:o:P:p:Q:R:S:W:w:"
"""OpenSSH's options, as getopt reads them (man ssh); a colon follows those that take a value."""

SETTINGS = {"p": "port", "l": "user", "i": "key", "J": "jump"}
LONG = {"port": "port", "user": "user", "identityfile": "key", "proxyjump": "jump"}
"""Options of `-o` that have a setting in fleet.toml."""

CURES = {
    "hostname": "write it as the address",
    "proxycommand": "use `jump` for hosts behind another",
    "proxyusefdpass": "use `jump` for hosts behind another",
    "match": "set `user`, `port` and `jump` here",
    "include": "set `user`, `port` and `jump` here",
    "certificatefile": "put the certificate beside the key, as KEY-cert.pub",
    "pkcs11provider": "add the key to your agent: ssh-add -s PROVIDER",
    "securitykeyprovider": "add the key to your agent: ssh-add -S PROVIDER",
    "identityagent": "set SSH_AUTH_SOCK in this shell",
}
"""Options of `-o` that have none, and without which the host cannot be reached -> what to do instead."""

PUNCTUATION = str.maketrans(
    {
        **dict.fromkeys("\uff0d\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
        **dict.fromkeys("\u201c\u201d\uff02", '"'),
        **dict.fromkeys("\u2018\u2019\uff07", "'"),
        **dict.fromkeys("\u3000\u00a0\u2009\u202f", " "),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", None),
        **{"\uff1a": ":", "\uff20": "@", "\uff0e": ".", "\uff0f": "/", "\uff3b": "[", "\uff3d": "]", "\uff04": "$"},
    }
)
"""What editors, chats and Chinese keyboards make of a command's characters -> what was meant."""

COMMAND = re.compile(
    r"(?:.*[$#>%:]\s*|)??"  # a prompt, or the name that the page gives the command
    r"(?:sudo\s+)?(?:\S*[/\\])?ssh(?:\.exe)?\s+(?P<rest>\S.*)",
    re.IGNORECASE | re.DOTALL,
)
BARE = re.compile(r"(?P<rest>[^\s-]\S*[@.]\S*\s+-\S.*)", re.DOTALL)
"""The same without its first word: HOST -p PORT. A word without @ and dot may be another program."""
PLACE = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^@:\[\]\s]+))(?::(?P<port>\d+))?")
PASSED_ON = re.compile(r"(?<![@.\w-])(?:sshpass(?:\.exe)?|-pw)\s|SSHPASS\s*=", re.IGNORECASE)
"""A password that a program types in: sshpass, plink."""
COLON = re.compile(r":(?!\d+(?:,|\s|$))[^@]*@")
"""What separates a user from a password; none separates a port from the next jump host."""

LONGEST = 1000
"""Characters of a command line; a longer text is none."""


def unfold(raw: dict[str, Any]) -> dict[str, Any]:
    """Split an `address` like `ssh -p 2222 root@HOST`, `ssh://root@HOST:2222` or `root@HOST:2222` in a host's table.

    User, port, key and jump become settings. Raises ValueError if the table sets one of them to another value, or if
    the address needs what has no setting.
    """
    address, jump = raw.get("address"), raw.get("jump")
    for key, text in (("address", address), ("jump", jump)):
        if isinstance(text, str) and PASSED_ON.search(text.translate(PUNCTUATION)):
            raise _password(key)
    if isinstance(jump, str) and len(jump) <= LONGEST:
        raw = raw | {"jump": unfold_jump(jump)}
    if not isinstance(address, str) or len(address) > LONGEST:
        return raw
    found = _found(_unwrapped(address))
    if "jump" in found:
        found["jump"] = unfold_jump(found["jump"])
    if str(found["address"]).lower() == LOCAL:
        found["address"] = LOCAL
    for key, value in found.items():
        if key != "address" and key in raw and str(raw[key]) != str(value):
            raise ValueError(f"address has {key} {value}, but {key} is set to {raw[key]}; keep one of them")
    return raw | found


def unfold_jump(text: str) -> str:
    """The jump hosts as [USER@]HOST[:PORT], separated by commas, if they are ssh commands or URLs."""
    text = text.translate(PUNCTUATION).replace("\uff0c", ",")
    if COLON.search(re.sub(r"ssh://|\[[0-9A-Fa-f:.]*\]", "", text, flags=re.IGNORECASE)):
        raise _password("jump")
    return ",".join(_hop(hop.strip()) for hop in text.split(","))


def _hop(text: str) -> str:
    if not re.match(r"ssh(\s|://)", text):
        return text
    found = _found(_unwrapped(text))
    if other := found.keys() - {"address", "user", "port"}:
        raise ValueError(f"jump: {text!r} sets a {min(other)}; jump hosts use the key of the host behind them")
    address = f"[{found['address']}]" if _is_ipv6(found["address"]) else found["address"]
    user = f"{found['user']}@" if "user" in found else ""
    return f"{user}{address}:{found['port']}" if "port" in found else f"{user}{address}"


def _unwrapped(text: str) -> str:
    """A pasted text without quotes around it, and with the characters that were meant."""
    text = re.sub(r"\\\r?\n", " ", text.translate(PUNCTUATION)).strip()
    while len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`":
        text = text[1:-1].strip()
    return text


def _password(key: str) -> ValueError:
    """The sentence for a text with a password, which it does not repeat."""
    cure = "jump hosts use the key of the host behind them"
    if key == "address":
        cure = 'write password = { env = "NAME" } instead'
    return ValueError(f"{key}: a password has no place in it; {cure}")


def _found(text: str) -> dict[str, Any]:
    if re.match(r"https?://", text, re.IGNORECASE):
        raise ValueError("address: a page's URL is no address of SSH; paste the ssh command that the provider shows")
    match = COMMAND.fullmatch(text) or BARE.fullmatch(text)
    return _command(match["rest"]) if match else _place(text)


def _command(text: str) -> dict[str, Any]:
    """The settings in an ssh command's arguments; like in ssh, the first of two values counts."""
    try:
        before, rest = getopt(_words(text), OPTIONS)
        after, _ = getopt(rest[1:], OPTIONS)  # what follows is a command for the host
    except (GetoptError, ValueError) as error:
        raise ValueError(f"address: this ssh command cannot be read: {str(error).lower()}") from error
    if not rest:
        raise ValueError("address: this ssh command names no host")
    found = _values(after) | _place(rest[0].rstrip(";")) | _values(before)
    if ":" in found.get("user", ""):
        raise _password("address")
    if found.get("jump", "").lower() == "none":
        del found["jump"]
    return found


def _values(options: list[tuple[str, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for letter, value in options:
        for key, told in _settings(letter.removeprefix("-"), value.strip()):
            found.setdefault(key, int(told) if key == "port" and told.isdecimal() else told)
    return found


def _words(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.commenters = True, ""
    if not re.search(r"\\[\s'\"()&]", text) or re.search(r"[A-Za-z]:\\", text):
        lexer.escape = ""  # the backslashes of a Windows path stay, so that it can be named as one
    return list(lexer)


def _settings(letter: str, value: str) -> Iterator[tuple[str, str]]:
    """Setting and value for an option; none for one that only changes ssh's behaviour."""
    if letter == "F":
        raise ValueError(f"-F {value}: ssh configuration files are not read; set `user`, `port` and `jump` here")
    if letter == "I":
        raise ValueError(f"-I {value} is not supported; {CURES['pkcs11provider']}")
    if letter in SETTINGS:
        yield SETTINGS[letter], value
    if letter != "o":
        return
    name, told = re.fullmatch(r"\s*([^\s=]*)\s*=?\s*(.*)", value, re.DOTALL).groups()  # type: ignore[union-attr]
    if name.lower() == "proxycommand" and told.lower() == "none":
        yield "jump", told
    elif cure := CURES.get(name.lower()):
        raise ValueError(f"-o {name} is not supported; {cure}")
    if name.lower() in LONG:
        yield LONG[name.lower()], told


def _place(text: str) -> dict[str, Any]:
    """Split [USER@]HOST[:PORT] or its URL; only the address of anything else, for its own validation to name."""
    url = text
    if text.lower().startswith("ssh://"):
        try:
            url = urlsplit(text).netloc
        except ValueError:
            return {"address": text}
    user, at, host = url.rpartition("@")
    if ":" in user:
        raise _password("address")
    if _is_ipv6(host):
        return {"address": host} | ({"user": user} if at else {})
    match = PLACE.fullmatch(url)
    if not match:
        return {"address": text}
    found: dict[str, Any] = {"address": match["v6"] or match["host"]}
    if match["user"]:
        found["user"] = match["user"]
    if match["port"]:
        found["port"] = int(match["port"])
    return found


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False
