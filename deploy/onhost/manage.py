"""Change services. Runs on the host; see the package's docstring."""

from __future__ import annotations

from roles.onhost import journal, services


def main(verb: str, units: list[str], now: bool = False, wait: bool = True) -> str:
    """Do `verb` (see `services.Manager.attempt`); why that failed, empty if it succeeded."""
    why = services.manager().attempt(verb, *units, now=now, wait=wait).splitlines()
    # What came after a full disk, or full memory, only follows from it.
    worst = [text for kind, text in journal.errors(why) if kind in ("disk", "memory")]
    return next(iter(worst or why), "")
