"""Unpack .xz files within a folder: unpack_xz FOLDER PACKED FILE [PACKED FILE ...]. Runs as root, in a build.

What is in the folder came from a repository, which may contain links that lead out of it.
"""

from __future__ import annotations

import lzma
import os
import sys
from pathlib import Path

LARGEST = 100_000_000
"""Bytes of an unpacked file."""


def main() -> None:
    """Unpack them; exit 1 with a sentence if that fails."""
    folder, *names = sys.argv[1:]
    try:
        for packed, file in zip(names[::2], names[1::2], strict=True):
            unpack(Path(folder), packed, file)
    except (OSError, EOFError, ValueError, lzma.LZMAError) as error:
        sys.exit(f"{error}")


def unpack(folder: Path, packed: str, file: str) -> None:
    """Unpack one; a file that is there already stays. Raises OSError, ValueError, or lzma.LZMAError."""
    source, target = _within(folder, packed), _within(folder, file)
    if target.exists():
        return
    with lzma.open(source) as data:
        content = data.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"{packed} has more than {LARGEST} bytes when it is unpacked")
    with target.open("xb") as made:
        made.write(content)


def _within(folder: Path, name: str) -> Path:
    place = Path(os.path.realpath(folder / name))
    if not place.is_relative_to(os.path.realpath(folder)):
        raise ValueError(f"{name} leads out of {folder} by a link")
    return place
