"""The pixels of a PNG picture, read with the standard library alone."""

from __future__ import annotations

import argparse
import hashlib
import json
import struct
import sys
import time
import zlib
from collections.abc import Callable
from typing import Any

PNG = b"\x89PNG\r\n\x1a\n"
LARGEST = 2_000_000
"""Bytes of a picture file, and of its pixels once unpacked: those of the requests here are of 64 by 64 pixels."""
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Bytes a pixel of each colour type at 8 bits."""


class PictureError(Exception):
    """There is no good picture; the text is for a person."""


def distinct_colours(png: bytes) -> int:
    """Number of different pixels of an 8-bit, not interlaced PNG (RFC 2083). PictureError for anything else."""
    channels, raw = pixels(png)
    return len({raw[x : x + channels] for x in range(0, len(raw), channels)})


def pixels(png: bytes) -> tuple[int, bytes]:
    """Bytes a pixel, and all pixels row by row, of an 8-bit, not interlaced PNG.

    PictureError for anything else: one that is cut off, contradicts itself, or unpacks to more than LARGEST bytes.
    """
    if not png.startswith(PNG):
        raise PictureError("what was drawn is not a picture")
    if len(png) > LARGEST:
        raise PictureError(f"the picture has {len(png)} bytes; {LARGEST} are the most that is looked at")
    try:
        return _pixels(png)
    except (struct.error, zlib.error, LookupError) as error:
        raise PictureError(f"the PNG picture is cut off or damaged: {error}") from error


def _pixels(png: bytes) -> tuple[int, bytes]:
    chunks: dict[bytes, bytearray] = {}
    at = 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        chunks.setdefault(kind, bytearray()).extend(body)
        at += length + 12
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if depth != 8 or interlace or colour not in CHANNELS:
        raise PictureError(f"the PNG is of an unusual kind (depth {depth}, interlace {interlace}, {colour})")
    channels = CHANNELS[colour]
    stride = width * channels
    size = height * (stride + 1)
    if not 0 < size <= LARGEST:
        raise PictureError(f"the picture has {width}x{height} pixels; that is more than is looked at, or nothing")
    # No more is unpacked than the header promises, however much is in it.
    data = zlib.decompressobj().decompress(chunks[b"IDAT"], size)
    if len(data) < size:
        raise PictureError(f"the PNG picture is cut off: {len(data)} of {size} bytes")
    above = bytearray(stride)
    raw = bytearray()
    for row in range(height):
        start = row * (stride + 1)
        above = _unfiltered(data[start], bytearray(data[start + 1 : start + 1 + stride]), above, channels)
        raw += above
    return channels, bytes(raw)


def _unfiltered(kind: int, row: bytearray, above: bytearray, channels: int) -> bytearray:
    for i in range(len(row)):
        left = row[i - channels] if i >= channels else 0
        corner = above[i - channels] if i >= channels else 0
        guess = (0, left, above[i], (left + above[i]) // 2, _paeth(left, above[i], corner))[kind]
        row[i] = (row[i] + guess) & 255
    return row


def _paeth(left: int, above: int, corner: int) -> int:
    estimate = left + above - corner
    return min((left, above, corner), key=lambda value: abs(estimate - value))


def judged(draw: Callable[[], bytes], cure: str) -> dict[str, Any]:
    """How many seconds a picture took, and its sha256. PictureError if there is none, or it is of one colour.

    + draw: makes it, as PNG
    + cure: what to try against a picture of one colour
    """
    began = time.monotonic()
    png = draw()
    if distinct_colours(png) < 2:
        raise PictureError(f"the picture is of one colour: the model computes NaN; try {cure}")
    return {"seconds": round(time.monotonic() - began, 2), "sha256": hashlib.sha256(png).hexdigest()}


def program(about: str, first: Callable[[int, float], dict[str, Any]]) -> None:
    """A program that has a service draw and prints what came of it as JSON; exits 1 with a sentence if nothing did.

    + first: has the service on a port draw, in so many seconds
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--port", type=int, required=True, help="loopback port of the service")
    parser.add_argument("--timeout", type=float, default=600, help="s that the picture may take")
    options = parser.parse_args()
    try:
        print(json.dumps(first(options.port, options.timeout)))
    except PictureError as error:
        sys.exit(str(error))
