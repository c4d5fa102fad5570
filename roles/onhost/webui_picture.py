"""Ask a WebUI for one small picture, and print as JSON how long it took and what it hashes to.

Exits 1 with one sentence if there is none, or if all its pixels are alike, as those of a model that computes NaN are.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import json
import struct
import sys
import time
import urllib.error
import urllib.request
import zlib

REQUEST = {"prompt": "a red apple on a table", "steps": 1, "width": 64, "height": 64, "seed": 1}


class PictureError(Exception):
    """There is no good picture; the text is for a person."""


def draw(port: int, timeout: float) -> bytes:
    """The PNG file that the WebUI on a loopback port draws within `timeout` s."""
    url = f"http://127.0.0.1:{port}/sdapi/v1/txt2img"
    request = urllib.request.Request(url, json.dumps(REQUEST).encode(), {"Content-Type": "application/json"})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=timeout) as answer:
            return base64.b64decode(json.load(answer)["images"][0])
    except urllib.error.HTTPError as error:
        words = error.read(500).decode(errors="replace")
        raise PictureError(f"the WebUI drew nothing, it answered {error.code}: {words}") from error
    except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
        raise PictureError(f"the WebUI drew nothing: {error}") from error


def distinct_colours(png: bytes) -> int:
    """Number of different pixels of an 8-bit, not interlaced PNG (RFC 2083). PictureError for anything else."""
    channels, raw = pixels(png)
    return len({raw[x : x + channels] for x in range(0, len(raw), channels)})


def pixels(png: bytes) -> tuple[int, bytes]:
    """Bytes a pixel, and all pixels row by row, of an 8-bit, not interlaced PNG. PictureError for anything else."""
    if png[:8] != b"\x89PNG\r\n\x1a\n":
        raise PictureError("the WebUI sent something that is not a PNG picture")
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        chunks[kind] = chunks.get(kind, b"") + body
        at += length + 12
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    if depth != 8 or interlace:
        raise PictureError(f"the WebUI sent a PNG of an unusual kind (depth {depth}, interlace {interlace})")
    data, stride = zlib.decompress(chunks[b"IDAT"]), width * channels
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


def main() -> None:
    """Draw and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="loopback port of the WebUI")
    parser.add_argument("--timeout", type=float, default=600, help="s that the picture may take")
    options = parser.parse_args()
    began = time.monotonic()
    try:
        png = draw(options.port, options.timeout)
        if distinct_colours(png) < 2:
            raise PictureError(
                "the picture is of one colour: the model computes NaN; try the flag no_half or another checkpoint"
            )
    except PictureError as error:
        sys.exit(str(error))
    print(json.dumps({"seconds": round(time.monotonic() - began, 2), "sha256": hashlib.sha256(png).hexdigest()}))


if __name__ == "__main__":
    main()
