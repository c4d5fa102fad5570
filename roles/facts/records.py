"""Listings between programs: NUL-terminated fields as one line of base64, so that no name can forge another.

A name may contain line breaks and tabs, and pyinfra returns a command's output in lines.
"""

import base64
from collections.abc import Iterator


def listing(kind: str, command: str) -> str:
    """
    The shell command that prints a line of `kind`, a tab, and what `command` prints.

    + command: prints NUL-terminated fields
    """
    return f"printf '{kind}\\t%s\\n' \"$({command} | base64 -w0)\""


def records(encoded: str, fields: int) -> Iterator[tuple[str, ...]]:
    """The records of such a line, with `fields` fields each; an incomplete last one is left out."""
    whole = base64.b64decode(encoded).decode("utf-8", "surrogateescape").split("\0")[:-1]
    for start in range(0, len(whole) - fields + 1, fields):
        yield tuple(whole[start : start + fields])
