"""Scans pickles without loading them. A scan finds what is known to be dangerous; it cannot prove a file safe."""

import logging
from typing import Any, BinaryIO

from .safetensors import FormatError

SUFFIXES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle")
SHOWN = 5


def load_scanner() -> Any:
    """The scanner, which is packed beside this package by roles.models.tool."""
    from picklescan import scanner

    logging.getLogger("picklescan").setLevel(logging.CRITICAL)
    return scanner


def check_pickle(stream: BinaryIO, suffix: str) -> list[str]:
    """Names in a pickle that the scanner does not know; FormatError if some are known to be dangerous."""
    scanner = load_scanner()
    try:
        found = scanner.scan_bytes(stream, "model", suffix)
    except Exception as error:  # an untrusted file can make it fail in any way
        raise FormatError(f"the scanner cannot read it ({type(error).__name__})") from None
    bad = _names(found, scanner.SafetyLevel.Dangerous)
    if bad or found.issues_count:
        raise FormatError(f"when loaded it would use {', '.join(bad[:SHOWN])}, which can run any code")
    if found.scan_err:
        raise FormatError("the scanner cannot read it to its end")
    return _names(found, scanner.SafetyLevel.Suspicious)


def _names(found: Any, level: Any) -> list[str]:
    return sorted({f"{entry.module}.{entry.name}" for entry in found.globals if entry.safety == level})
