"""Picture files: which files of a folder are pictures, and opening one. Imports without torch."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from training.errors import InputError, reason
from training.sections.data import PICTURE_ENDINGS

# Pillow warns from 89 megapixels on, which large scans have, and refuses twice as many.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

ORIENTATION = 0x0112
"""EXIF's tag."""
TURNS: Mapping[Any, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What a viewer does by its values."""


def is_picture(file: Path) -> bool:
    """Whether a file's name is a picture's: hidden files are not, like macOS' ._a.png beside each a.png."""
    return file.suffix.lower() in PICTURE_ENDINGS and not file.name.startswith(".")


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in a fixed order, without those in folders inside it, as in sd-scripts."""
    return [file for file in sorted(folder.iterdir()) if is_picture(file)]


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """A picture, opened. Raises InputError if it cannot be read, also within the block."""
    try:
        with Image.open(path) as file:
            yield file
    except InputError:
        raise
    except Exception as error:  # decoders raise all kinds of exceptions for damaged files
        why = why_unreadable(error)
        raise InputError(f"{path}: is no readable picture ({why}); replace it or take it out") from error


def turn(image: Image.Image) -> Image.Transpose | None:
    """How its EXIF tag has it turned; some programs write text there, or numbers without a meaning.

    Not ImageOps.exif_transpose, which writes all tags again, and fails for others that are of a wrong type.
    """
    return TURNS.get(image.getexif().get(ORIENTATION))


def displayed_size(image: Image.Image) -> tuple[int, int]:
    """Width and height after that turn."""
    exchanged = image.getexif().get(ORIENTATION) in (5, 6, 7, 8)
    return (image.height, image.width) if exchanged else image.size


def as_displayed(image: Image.Image) -> Image.Image:
    """The picture rotated by its EXIF tag, with 8 bits a channel.

    Pillow itself cuts off what is above 255: a grey picture of 16 bits would be white, one of floats black.
    """
    how = turn(image)
    shown = image if how is None else image.transpose(how)
    if not shown.mode.startswith(("I", "F")):
        return shown
    values = shown.convert("F" if shown.mode == "F" else "I").convert("F")
    top: Any = values.getextrema()[1]  # of one channel: a number
    tops = (65535.0,) if ";16" in shown.mode else (255.0, 65535.0) if shown.mode == "I" else (1.0, 255.0, 65535.0)
    full = next((each for each in tops if top <= each), top)
    grey = values.point(lambda value: value * (255 / full)).convert("L")
    grey.info.pop("transparency", None)  # one of the old values
    return grey


def why_unreadable(error: Exception) -> str:
    """Why a picture cannot be read, without its name, in one line; decoders put whole object names into it."""
    why = reason(error)
    return "cannot identify image file" if "cannot identify image file" in why else why[:160]
