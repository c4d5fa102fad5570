"""The trainer's code as one file: what a fleet installs, and what every run keeps beside its record."""

import zipfile
from functools import cache
from io import BytesIO
from pathlib import Path

CODE = Path(__file__).resolve().parent
KINDS = (".py", ".json", ".html")
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest date a zip file can hold: the same code gives the same archive."""


@cache
def archive() -> bytes:
    """The package `training` as a zip file: the same bytes for the same code, on every machine."""
    packed = BytesIO()
    # Not compressed: another zlib would make other bytes of the same code.
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as made:
        for file in sorted(CODE.rglob("*")):
            if file.suffix in KINDS and file.is_file():
                made.writestr(
                    zipfile.ZipInfo(f"training/{file.relative_to(CODE).as_posix()}", EPOCH), file.read_bytes()
                )
    return packed.getvalue()
