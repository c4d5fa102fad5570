"""Ask a WebUI for one small picture, and print as JSON how long it took and what it hashes to.

Exits 1 with one sentence if there is none, or if all its pixels are alike, as those of a model that computes NaN are.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from roles.onhost import loopback, own_archive, webui_api, webui_png
from roles.onhost.png_pixels import LARGEST, PictureError, judged, program

REQUEST: Mapping[str, object] = {"prompt": "a red apple on a table", "steps": 1, "width": 64, "height": 64, "seed": 1}


def draw(port: int, timeout: float, request: Mapping[str, object] = REQUEST) -> bytes:
    """The picture file that the WebUI on a loopback port draws within `timeout` s, in the format that it saves in."""
    try:
        drawn = webui_api.ask(port, "/sdapi/v1/txt2img", request, timeout, 2 * LARGEST)
        return base64.b64decode(drawn["images"][0])
    except loopback.AnswerError as error:
        raise PictureError(f"the WebUI drew nothing, it {error}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise PictureError(f"the WebUI drew nothing: {error}") from error


def as_png(picture: bytes, python: Sequence[str] = (sys.executable, "-I")) -> bytes:
    """The same picture as PNG.

    + python: the words of a Python with Pillow, which is needed where it is none
    """
    if not picture.startswith((b"\xff\xd8\xff", b"RIFF")):
        return picture
    done = own_archive.run(webui_png.__name__, picture, python)
    if done.returncode:
        raise PictureError((done.stderr.decode(errors="replace").strip().splitlines() or ["no Pillow here"])[-1])
    return done.stdout


def first(port: int, timeout: float) -> dict[str, Any]:
    """How many seconds a picture took, and its sha256. PictureError if there is none, or it is of one colour."""
    return judged(lambda: as_png(draw(port, timeout)), "the flag no_half or another checkpoint")


def main() -> None:
    """Draw and judge."""
    program(__doc__, first)
