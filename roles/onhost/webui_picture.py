"""Ask a WebUI for one small picture, and print as JSON how long it took and what it hashes to.

Exits 1 with one sentence if there is none, or if all its pixels are alike, as those of a model that computes NaN are.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import struct
import sys
import time
import zlib
from typing import Any

from roles.onhost import loopback, own_archive, webui_api, webui_png

PNG = b"\x89PNG\r\n\x1a\n"
REQUEST = {"prompt": "a red apple on a table", "steps": 1, "width": 64, "height": 64, "seed": 1}


class PictureError(Exception):
    """There is no good picture; the text is for a person."""


def draw(port: int, timeout: float) -> bytes:
    """The picture file that the WebUI on a loopback port draws within `timeout` s, in the format that it saves in."""
    try:
        drawn = webui_api.ask(port, "/sdapi/v1/txt2img", REQUEST, timeout, 2 * LARGEST)
        return base64.b64decode(drawn["images"][0])
    except loopback.AnswerError as error:
        raise PictureError(f"the WebUI drew nothing, it {error}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise PictureError(f"the WebUI drew nothing: {error}") from error


def as_png(picture: bytes) -> bytes:
    """The same picture as PNG; this Python has Pillow where it is none."""
    if not picture.startswith((b"\xff\xd8\xff", b"RIFF")):
        return picture
    done = own_archive.run(webui_png.__name__, picture)
    if done.returncode:
        raise PictureError((done.stderr.decode(errors="replace").strip().splitlines() or ["no Pillow here"])[-1])
    return done.stdout


LARGEST = 2_000_000
"""Bytes of a picture file, and of its pixels once unpacked: those of the requests here are of 64 by 64 pixels."""
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Bytes a pixel of each colour type at 8 bits."""


def distinct_colours(png: bytes) -> int:
    """Number of different pixels of an 8-bit, not interlaced PNG (RFC 2083). PictureError for anything else."""
    channels, raw = pixels(png)
    return len({raw[x : x + channels] for x in range(0, len(raw), channels)})


def pixels(png: bytes) -> tuple[int, bytes]:
    """Bytes a pixel, and all pixels row by row, of an 8-bit, not interlaced PNG.

    PictureError for anything else: one that is cut off, contradicts itself, or unpacks to more than LARGEST bytes.
    """
    if not png.startswith(PNG):
        raise PictureError("the WebUI sent something that is not a picture")
    if len(png) > LARGEST:
        raise PictureError(f"the WebUI sent a picture of {len(png)} bytes; {LARGEST} are the most that is looked at")
    try:
        return _pixels(png)
    except (struct.error, zlib.error, LookupError) as error:
        raise PictureError(f"the WebUI sent a PNG picture that is cut off or damaged: {error}") from error


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
        raise PictureError(f"the WebUI sent a PNG of an unusual kind (depth {depth}, interlace {interlace}, {colour})")
    channels = CHANNELS[colour]
    stride = width * channels
    size = height * (stride + 1)
    if not 0 < size <= LARGEST:
        raise PictureError(f"the WebUI sent a picture of {width}x{height}; that is more than is looked at, or nothing")
    # No more is unpacked than the header promises, however much is in it.
    data = zlib.decompressobj().decompress(chunks[b"IDAT"], size)
    if len(data) < size:
        raise PictureError(f"the WebUI sent a PNG picture that is cut off: {len(data)} of {size} bytes")
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


def first(port: int, timeout: float) -> dict[str, Any]:
    """How many seconds a picture took, and its sha256. PictureError if there is none, or it is of one colour."""
    began = time.monotonic()
    png = as_png(draw(port, timeout))
    if distinct_colours(png) < 2:
        raise PictureError(
            "the picture is of one colour: the model computes NaN; try the flag no_half or another checkpoint"
        )
    return {"seconds": round(time.monotonic() - began, 2), "sha256": hashlib.sha256(png).hexdigest()}


def main() -> None:
    """Draw and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="loopback port of the WebUI")
    parser.add_argument("--timeout", type=float, default=600, help="s that the picture may take")
    options = parser.parse_args()
    try:
        print(json.dumps(first(options.port, options.timeout)))
    except PictureError as error:
        sys.exit(str(error))
