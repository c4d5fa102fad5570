"""The names of a safetensors file's tensors, read by a confined child: the file may be anybody's."""

from __future__ import annotations

import json
import struct
from typing import IO, Any

from roles.onhost import confined, own_archive

LARGEST_HEADER = 16 << 20
"""Bytes; the headers of real models have less than one million."""


def names(stream: IO[bytes]) -> list[str]:
    """The names; none if this is no safetensors file. Raises ValueError if its header is too long."""
    beginning = stream.read(8)
    (length,) = struct.unpack("<Q", beginning) if len(beginning) == 8 else (0,)
    if length > LARGEST_HEADER:
        raise ValueError(f"its header is said to have {length} bytes")
    try:
        header = json.loads(stream.read(length))
    except ValueError:
        return []
    return [name for name in header if name != "__metadata__"] if isinstance(header, dict) else []


def ask(stream: IO[bytes]) -> list[str]:
    """The names, read by a confined child. Raises confined.StrangeFileError."""
    told: Any = confined.ask(own_archive.words(__name__), stream, own_archive.descriptors())
    return [str(name) for name in told] if isinstance(told, list) else []


def main() -> None:
    """Answer `confined.ask`."""
    confined.answer(names)
