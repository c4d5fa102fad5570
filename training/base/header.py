"""The header of a safetensors file: names, shapes, formats and metadata, read without torch."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import InputError
from training.usable_path import why_missing

MAX_HEADER_BYTES = 100_000_000
"""The format's limit."""
BYTES_PER_NUMBER = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 8),
}


@dataclass(frozen=True)
class Header:
    shapes: dict[str, tuple[int, ...]]
    formats: dict[str, str]
    """Number formats as the file spells them, e.g. F16."""
    metadata: dict[str, str]


def read_header(path: Path) -> Header:
    """The header of a safetensors file. Raises InputError if it is missing or does not match the file's size."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
            length = int.from_bytes(start, "little")
            size = path.stat().st_size
            if len(start) < 8 or length > min(MAX_HEADER_BYTES, size - 8):
                raise damaged(path, "it has no header")
            found = _parse(path, file.read(length))
    except OSError as error:
        raise unreadable(path, error) from error
    header, end = found
    if end != size - 8 - length:
        raise damaged(path, f"it has {size} bytes, its header describes {8 + length + end}")
    return header


def _parse(path: Path, text: bytes) -> tuple[Header, int]:
    """The header in `text`, and where the last tensor ends (bytes after the header)."""
    try:
        raw: dict[str, Any] = json.loads(text)
        noted = raw.pop("__metadata__", None) or {}
        metadata = {str(key): str(value) for key, value in noted.items()}
        shapes = {name: tuple(int(side) for side in entry["shape"]) for name, entry in raw.items()}
        formats = {name: str(entry["dtype"]) for name, entry in raw.items()}
        places = {name: (int(entry["data_offsets"][0]), int(entry["data_offsets"][1])) for name, entry in raw.items()}
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError) as error:
        raise damaged(path, "its header is no table of tensors") from error
    for name, (begin, end) in places.items():
        width = BYTES_PER_NUMBER.get(formats[name])
        if width is None:
            raise damaged(path, f"{name} has the format {formats[name]}, which is not known")
        if min((0, *shapes[name])) < 0 or begin < 0 or end - begin != width * math.prod(shapes[name]):
            raise damaged(path, f"{name} has another size than its header says")
    return Header(shapes, formats, metadata), max((end for _, end in places.values()), default=0)


BEGINNINGS = {
    b"<": "is a web page, not a model; the download needs a login or another address",
    b"version https://git-lfs": "is a pointer of Git LFS, not the model itself; fetch it with: git lfs pull",
    b"PK\x03\x04": "is a zip archive or a .ckpt, whatever its name says; convert a .ckpt to safetensors first",
    b"\x80": "is a pickle of PyTorch (.ckpt, .pt), whatever its name says; convert it to safetensors first",
    b"{": "is JSON, not a model",
}
"""What other files are that people take for models, by their first bytes."""


def unreadable(path: Path, error: OSError) -> InputError:
    """Why a file cannot be opened or read."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"{path}: {why_missing(path)}")
    if path.is_dir():
        return InputError(f"{path}: is a folder; expected a safetensors file")
    return InputError(f"{path}: cannot be read ({error.strerror or error})")


def damaged(path: Path, why: object) -> InputError:
    """What is wrong with a file that is no sound safetensors file: what else it is, else `why`."""
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError:
        start = b""
    # A safetensors file begins with a length: a small number of eight bytes, whose last ones are zero.
    known = next((what for mark, what in BEGINNINGS.items() if start.startswith(mark)), "")
    if known and start[5:8] != bytes(3):
        return InputError(f"{path}: {known}")
    return InputError(
        f"{path}: is no readable safetensors file ({why}); .ckpt files must be converted, "
        "and an interrupted download must be repeated"
    )
