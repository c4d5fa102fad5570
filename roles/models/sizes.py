"""Sizes as text."""


def format_bytes(count: int | float | None) -> str:
    """1234567 -> "1.2 MB" (powers of ten); None is an unknown amount."""
    if count is None:
        return "an unknown amount"
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count:.0f} bytes"
