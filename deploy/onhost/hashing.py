"""The sha256 of open files. Runs on the host; see the package's docstring."""

from __future__ import annotations

import hashlib
from typing import IO

CHUNK = 1 << 20


def sha256_of(stream: IO[bytes], size: int) -> str:
    """Of the next `size` bytes, or of all if there are fewer."""
    digest = hashlib.sha256()
    while size > 0 and (block := stream.read(min(size, CHUNK))):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest()
