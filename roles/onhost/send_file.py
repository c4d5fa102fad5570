"""Print a file that a service wrote, from an offset on.

send_file PATH OFFSET SIZE       stops at SIZE: a file can grow without end while it is sent
"""

from __future__ import annotations

import sys

from roles.onhost import nofollow, transfers


def main() -> None:
    """Exit 1 with a sentence if the path names no regular file."""
    path, offset, size = sys.argv[1:]
    try:
        send(path, int(offset), int(size))
    except OSError as error:
        sys.exit(str(error))


def send(path: str, offset: int, size: int) -> None:
    """Raises OSError if `path` is no regular file."""
    with transfers.sending(), nofollow.open_file(path) as file:
        file.seek(offset)
        while offset < size and (block := file.read(min(1 << 20, size - offset))):
            sys.stdout.buffer.write(block)
            offset += len(block)
