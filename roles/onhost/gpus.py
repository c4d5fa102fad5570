"""The host's GPUs, as nvidia-smi counts them."""

from __future__ import annotations

from typing import Any

from roles.onhost import commands


def rows(*fields: str) -> list[list[str]]:
    """What nvidia-smi says in these fields, a row for each GPU; none without a GPU or a driver that works.

    Raises TimeoutError if it does not answer, as with many cards without persistence mode.
    """
    told = commands.answer("nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits")
    cells = ([cell.strip() for cell in row.split(",")] for row in told.splitlines())
    return [row for row in cells if len(row) == len(fields)]


def cards() -> list[dict[str, Any]]:
    """Index, name, total and free MiB of each GPU. Raises TimeoutError as rows does."""
    found = rows("index", "name", "memory.total", "memory.free")
    return [
        {"index": index, "name": name, "total": int(total), "free": int(free)}
        for index, name, total, free in found
        if total.isdigit() and free.isdigit()
    ]
