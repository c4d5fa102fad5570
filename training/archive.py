"""The trainer's code as one zip file: installed on hosts, and kept with the record of every run."""

import zipfile
from functools import cache
from io import BytesIO
from pathlib import Path

CODE = Path(__file__).resolve().parent
KINDS = (".py", ".json", ".html")
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest date that a zip file can hold; a fixed date makes the archive reproducible."""


@cache
def archive() -> bytes:
    """The package `training` as a zip file, identical to the byte for the same code."""
    packed = BytesIO()
    # Stored, not compressed: versions of zlib compress differently.
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as made:
        for file in sorted(CODE.rglob("*")):
            if file.suffix in KINDS and file.is_file():
                made.writestr(
                    zipfile.ZipInfo(f"training/{file.relative_to(CODE).as_posix()}", EPOCH), file.read_bytes()
                )
    return packed.getvalue()
