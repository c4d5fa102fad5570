"""The safetensors format, checked without reading a tensor: https://github.com/huggingface/safetensors#format

8 bytes with the header's length (little endian), the header (JSON: name -> dtype, shape, data_offsets), the data.
"""

import json
import math
import os
import struct
from typing import Any, BinaryIO

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
LARGEST_HEADER = 100_000_000
"""The reference implementation's limit, in bytes."""
MOST_DIMENSIONS = 64
"""PyTorch's limit."""
LARGEST_EXTENT = 1 << 63
METADATA = "__metadata__"


class FormatError(Exception):
    """What is wrong with a file."""


def check_safetensors(stream: BinaryIO) -> dict[str, Any]:
    """The header of a safetensors file whose tensors fill it without gap or overlap; else FormatError."""
    size = os.fstat(stream.fileno()).st_size
    beginning = stream.read(8)
    if len(beginning) < 8:
        raise FormatError("it is too short to have a header")
    (length,) = struct.unpack("<Q", beginning)
    if length > min(LARGEST_HEADER, size - 8):
        raise FormatError(f"its header is said to have {length} bytes")
    try:
        header = json.loads(stream.read(length).decode("utf-8"), object_pairs_hook=_unique)
    except ValueError:
        raise FormatError("its header is not JSON") from None
    if not isinstance(header, dict):
        raise FormatError("its header is not a JSON object")
    _check_metadata(header.get(METADATA, {}))
    end = 0
    for name, (start, stop) in sorted(_spans(header).items(), key=lambda item: item[1]):
        if start != end:
            raise FormatError(f"tensor {name} begins at byte {start} of the data, not at {end}: a gap or an overlap")
        end = stop
    if end != size - 8 - length:
        raise FormatError(f"its tensors take {end} bytes, but the file has {size - 8 - length} after the header")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; two entries of one name would let two readers see two different files."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FormatError("its header has two entries of one name")
    return found


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FormatError("its __metadata__ is not text by name")


def _count(shape: object) -> int:
    """The number of values of a shape; ValueError if it is not a shape."""
    if not isinstance(shape, list) or len(shape) > MOST_DIMENSIONS:
        raise ValueError("shape")
    if any(type(extent) is not int or not 0 <= extent < LARGEST_EXTENT for extent in shape):
        raise ValueError("shape")
    return math.prod(shape)


def _spans(header: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """The span of each tensor, checked against its type and shape."""
    spans = {}
    for name, entry in header.items():
        if name == METADATA:
            continue
        try:
            bits, shape = BITS[entry["dtype"]], entry["shape"]
            start, stop = entry["data_offsets"]
            if type(start) is not int or type(stop) is not int:
                raise ValueError(start, stop)
            fits = 0 <= start <= stop and (stop - start) * 8 == _count(shape) * bits
        except (KeyError, TypeError, ValueError):
            raise FormatError(f"tensor {name} has no valid dtype, shape and data_offsets") from None
        if not fits:
            raise FormatError(f"tensor {name} has {stop - start} bytes, which do not fit {entry['dtype']} {shape}")
        spans[name] = (start, stop)
    return spans
