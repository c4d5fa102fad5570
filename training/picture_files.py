"""Picture files: which files of a folder are pictures, and opening one. Imports without torch."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from training.errors import InputError, reason
from training.sections.data import PICTURE_ENDINGS

# Pillow warns from 89 megapixels on, which large scans have, and refuses twice as many.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


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
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        why = why_unreadable(error)
        raise InputError(f"{path}: is no readable picture ({why}); replace it or take it out") from error


def why_unreadable(error: Exception) -> str:
    """Why a picture cannot be read, without its name, in one line; decoders put whole object names into it."""
    why = reason(error)
    return "cannot identify image file" if "cannot identify image file" in why else why[:160]
