"""Every picture opened and looked at: readable, still, large enough, the right way up, in colours that survive."""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import imagehash
from PIL import Image, ImageOps

from training.review.finding import Finding

THUMBNAIL = (192, 192)
NEAR = 4
"""Perceptual hashes (64 bits) that differ in at most so many bits are taken for the same picture."""
SMALL = 1.5
"""A picture that is enlarged more than this is blurred by it."""
ROTATED = 0x0112
"""EXIF's orientation."""


@dataclass(frozen=True)
class Looked:
    """What was found in one readable picture."""

    path: Path
    size: tuple[int, int]
    """Width and height as shown, pixels."""
    sha256: str
    look: imagehash.ImageHash
    """Perceptual hash (DCT) of what is shown."""
    thumbnail: Image.Image


def look(path: Path) -> tuple[Looked | None, list[Finding]]:
    """Open one picture wholly. None for one that cannot be read; the findings say why."""
    found: list[Finding] = []
    try:
        content = path.read_bytes()
        with warnings.catch_warnings(), Image.open(path) as file:
            # A picture large enough to be an attack is an error here, not a warning on the terminal.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            file.load()
            found += _remarks(path, file)
            shown = ImageOps.exif_transpose(file).convert("RGB")
    except Exception as error:  # decoders raise whatever a broken file leads them to
        return None, [*found, Finding("bad", path, f"cannot be read ({_short(error)}); replace it or take it out")]
    small = shown.copy()
    small.thumbnail(THUMBNAIL)
    return Looked(path, shown.size, hashlib.sha256(content).hexdigest(), imagehash.phash(shown), small), found


def _remarks(path: Path, file: Image.Image) -> Iterator[Finding]:
    if getattr(file, "n_frames", 1) > 1:
        yield Finding("warning", path, "is animated; only its first frame is shown to the network")
    if file.mode == "CMYK":
        yield Finding("warning", path, "has printing colours (CMYK), which are converted crudely; save it as sRGB")
    elif file.mode.startswith("I") or file.mode == "F":
        yield Finding("warning", path, f"has more than 8 bits a channel ({file.mode}); save it as 8-bit sRGB")
    elif file.mode in ("1", "L", "LA"):
        yield Finding("note", path, "is grey; the network learns that its subject is")
    if file.getexif().get(ROTATED, 1) != 1:
        yield Finding("note", path, "is turned by its EXIF tag; the trainer turns it as a viewer does")
    if "A" in file.getbands() or "transparency" in file.info:
        yield Finding("note", path, "has transparency; what lies under it is trained, unless data.alpha_mask is set")


def duplicates(looked: Sequence[Looked]) -> list[Finding]:
    """Pictures that are there twice, to the byte or to the eye."""
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


def _short(error: Exception) -> str:
    """An error's first words; decoders put whole object names into them."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "cannot identify image file" if "cannot identify image file" in text else text[:160]
