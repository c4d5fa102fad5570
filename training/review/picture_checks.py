"""Checks of picture files: readable, not animated, large enough, rotation, colours, duplicates."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import imagehash
from PIL import Image

from training.picture_files import as_displayed, turn, why_unreadable
from training.review.finding import Finding

THUMBNAIL = (192, 192)
NEAR = 4
"""Pictures whose perceptual hashes (64 bits) differ in at most this many bits count as the same."""
SMALL = 1.5
"""Enlarging a picture by more than this blurs it."""


@dataclass(frozen=True)
class InspectedPicture:
    path: Path
    size: tuple[int, int]
    """Width and height after the EXIF rotation, in pixels."""
    sha256: str
    look: imagehash.ImageHash
    """Perceptual hash (DCT)."""
    thumbnail: Image.Image


def inspect_picture(path: Path) -> tuple[InspectedPicture | None, list[Finding]]:
    """Decode a picture completely; None if it cannot be read, and the findings say why."""
    found: list[Finding] = []
    try:
        content = path.read_bytes()
        with Image.open(path) as file:
            file.load()
            found += _remarks(path, file)
            shown = as_displayed(file).convert("RGB")
    except Exception as error:  # decoders raise all kinds of exceptions for damaged files
        why = why_unreadable(error)
        return None, [*found, Finding("bad", path, f"cannot be read ({why}); replace it or take it out")]
    small = shown.copy()
    small.thumbnail(THUMBNAIL)
    return InspectedPicture(path, shown.size, hashlib.sha256(content).hexdigest(), imagehash.phash(shown), small), found


def _remarks(path: Path, file: Image.Image) -> Iterator[Finding]:
    if getattr(file, "n_frames", 1) > 1:
        yield Finding("warning", path, "is animated; only its first frame is shown to the network")
    if file.mode == "CMYK":
        yield Finding("warning", path, "has printing colours (CMYK), which are converted crudely; save it as sRGB")
    elif file.mode.startswith("I") or file.mode == "F":
        yield Finding("warning", path, f"has more than 8 bits a channel ({file.mode}); save it as 8-bit sRGB")
    elif file.mode in ("1", "L", "LA"):
        yield Finding("note", path, "is grey; the network learns that its subject is")
    if turn(file) is not None:
        yield Finding("note", path, "is turned by its EXIF tag; the trainer turns it as a viewer does")
    if "A" in file.getbands() or "transparency" in file.info:
        yield Finding("note", path, "has transparency; what lies under it is trained, unless data.alpha_mask is set")


def duplicates(looked: Sequence[InspectedPicture]) -> list[Finding]:
    """Pictures that are identical, or look the same."""
    found: list[Finding] = []
    for index, one in enumerate(looked):
        for other in looked[:index]:
            if one.sha256 == other.sha256:
                found.append(Finding("warning", one.path, f"is the same file as {other.path.name}"))
                break
            if one.look - other.look <= NEAR:
                found.append(Finding("warning", one.path, f"looks the same as {other.path.name}"))
                break
    return found
