"""Change services. Runs on the host; see the package's docstring."""

from __future__ import annotations

from roles.onhost import journal, services


def main(verb: str, units: list[str], now: bool = False, wait: bool = True) -> str:
    """Do `verb` (see `services.Manager.attempt`); why that failed, empty if it succeeded."""
    why = services.manager().attempt(verb, *units, now=now, wait=wait).splitlines()
    return journal.cause(why) or next(iter(why), "")
