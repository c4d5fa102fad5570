"""Notes and a picture that the WebUI shows with a model. Written once; users may edit them."""

import contextlib
import http.client
from pathlib import Path

from roles.onhost import nofollow, nofollow_changes

from .http import Fault, request_file
from .manifest import File, Source

LARGEST = 8_000_000
"""Bytes of a picture; larger ones are not used."""
PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8")


def place_card(link: Path, card: dict[str, str]) -> list[str]:
    """Write NAME.json and NAME.preview.png beside a new link, where there is none; one sentence for each.

    A preview that cannot be downloaded is left out: a picture is no reason to fail.
    """
    said = []
    if _put(link.with_suffix(".json"), card["notes"].encode()):
        said.append(f"{link.with_suffix('.json')}: written")
    preview = link.with_suffix(".preview.png")
    if card["preview"] and not nofollow.exists(preview):
        try:
            _put(preview, _picture(card["preview"]))
            said.append(f"{preview}: written")
        except Fault as fault:
            said.append(f"{preview}: left out, its source {fault}")
    return said


def _picture(url: str) -> bytes:
    answer = request_file(Source(url), File("preview", "", None, ()), 0)
    assert answer is not None, "only a request for a rest can have nothing more to get"
    data = b""
    with answer.body, contextlib.suppress(OSError, http.client.HTTPException):
        data = answer.body.read(LARGEST + 1)
    if not data.startswith(PICTURES) or len(data) > LARGEST:
        raise Fault("sent no picture")
    return data


def _put(path: Path, data: bytes) -> bool:
    """Write a file that is not there yet, owned like its folder: the WebUI's user edits it."""
    if nofollow.exists(path):
        return False
    nofollow_changes.write(path, data, alike=True)
    return True
