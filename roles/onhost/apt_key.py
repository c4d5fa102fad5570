"""Fetch the key of an apt repository, and put it in place only if it is the one whose fingerprint is known.

    apt_key URL FINGERPRINT KEYRING

The file may hold no other key: apt would trust that one too. The fingerprint of a version 4 key is the SHA-1 of
0x99, its length in two bytes, and its packet (RFC 4880, 12.2).
"""

from __future__ import annotations

import base64
import hashlib
import sys
import urllib.request
from pathlib import Path

from roles.onhost import files

SECONDS = 60
PUBLIC_KEY = 6


def main() -> None:
    """Exit 1 with a sentence if the key is not put in place."""
    sys.exit(fetch(*sys.argv[1:]))


def fetch(url: str, fingerprint: str, keyring: str) -> int | str:
    """0 if the key lies in `keyring`, else a sentence that says why not; sys.exit takes both."""
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            data = answer.read(1 << 20)
    except OSError as error:
        return f"the repository's key cannot be fetched from {url}: {getattr(error, 'reason', error)}"
    try:
        key = dearmored(data)
        found = fingerprints(key)
    except (ValueError, IndexError):
        return f"{url} answers something that is no OpenPGP key"
    if found != [fingerprint]:
        return f"{url} holds the key {' '.join(found) or 'of nobody'}, not {fingerprint}: refused, nothing was changed"
    Path(keyring).parent.mkdir(parents=True, exist_ok=True)
    files.write(Path(keyring), key)
    return 0


def dearmored(data: bytes) -> bytes:
    """The bytes of a key in either form, ASCII-armored or binary."""
    if not data.startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK-----"):
        return data
    body = data.replace(b"\r", b"").split(b"\n\n", 1)[1].split(b"\n=", 1)[0].split(b"\n-----END", 1)[0]
    return base64.b64decode(body, validate=False)


def fingerprints(key: bytes) -> list[str]:
    """Fingerprints of the primary keys among the packets of `key`."""
    found = []
    while key:
        tag, start, length = header(key)
        packet, key = key[start : start + length], key[start + length :]
        if len(packet) < length:
            raise ValueError("a packet is cut off")
        if tag == PUBLIC_KEY:
            found.append(hashlib.sha1(b"\x99" + length.to_bytes(2, "big") + packet).hexdigest().upper())
    return found


def header(data: bytes) -> tuple[int, int, int]:
    """Tag of the first packet, where its body starts, and the body's length in bytes (RFC 4880, 4.2)."""
    first, size = data[0], data[1]
    if not first & 0x80:
        raise ValueError("no packet")
    if not first & 0x40:
        octets = 1 << (first & 3)
        if octets == 8:
            raise ValueError("length left open")
        return (first >> 2) & 15, 1 + octets, int.from_bytes(data[1 : 1 + octets], "big")
    if size < 192:
        return first & 63, 2, size
    if size < 224:
        return first & 63, 3, ((size - 192) << 8) + data[2] + 192
    if size == 255:
        return first & 63, 6, int.from_bytes(data[2:6], "big")
    raise ValueError("length in parts")
