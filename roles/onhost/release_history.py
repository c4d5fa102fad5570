"""What has served of an application, and what is being tried: `history.json` beside its link `current`.

It holds the text of each unit, so going back needs neither the network nor the controller. What is being tried is
written down before it is started: a switch that was killed half way is known as such afterwards. A copy lies beside it.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from roles.onhost import files, unit_changes

COPY = "history.json.copy"
DAMAGED = (ValueError, LookupError, TypeError, AttributeError)
"""What read_history raises."""
REMEMBERED = 20
"""Entries of the history that are kept."""

Entry = dict[str, Any]
"""release; unit (path, "" for an application without a service); text of the unit; since; by; left (when given up);
why (so, if no person did that); figures (what it costs, by name, as far as that was measured)."""


def same(one: Entry, other: Entry) -> bool:
    """Whether two entries run the same release in the same way."""
    return (one["release"], one["text"]) == (other["release"], other["text"])


def called(entry: Entry, beside: Entry) -> str:
    """The entry's release, and what tells it from `beside` where that is the same release."""
    if entry["release"] != beside["release"]:
        return str(entry["release"])
    return f"{entry['release']} {unit_changes.told(beside['text'], entry['text']) or 'with other settings'}"


def read_history(text: str) -> tuple[list[Entry], Entry | None]:
    """What served and what is being tried. Raises ValueError, LookupError, TypeError or AttributeError if damaged."""
    known = json.loads(text)
    served, trying = list(known["served"]), known["trying"]
    for entry in [*served, *([trying] if trying else [])]:
        if not all(isinstance(entry[key], str) for key in ("release", "unit", "text")) or "/" in entry["release"]:
            raise ValueError("an entry is none")
    if any(not isinstance(entry.setdefault("left", ""), str) for entry in served):
        raise ValueError("an entry is none")
    return served, trying


def whole(home: Path) -> tuple[list[Entry], Entry | None] | None:
    """What served of the application in a folder and what is being tried, from the copy if need be; None if unknown."""
    for file in (home / "history.json", home / COPY):
        with contextlib.suppress(FileNotFoundError, *DAMAGED):
            return read_history(file.read_text())
    return None


class History:
    """What has served, oldest first, and what is being tried."""

    def __init__(self, file: Path) -> None:
        """Read the history; a damaged one is put aside, and its copy takes its place, or else a new one is begun."""
        self.file = file
        self.served: list[Entry] = []
        self.trying: Entry | None = None
        # None on a host of before there was a history; what runs now becomes its first entry.
        if known := whole(file.parent):
            self.served, self.trying = known
        try:
            read_history(file.read_text())
            return
        except FileNotFoundError:
            pass
        except DAMAGED:
            aside = file.with_name("history.json.damaged")
            file.replace(aside)
            now = "its copy is used" if known else "a new one is begun"
            print(f"{file} was damaged and is {aside.name} now; {now}", file=sys.stderr)
        if known:
            with contextlib.suppress(OSError):  # on a full disk; the copy stays
                self.save()

    def save(self) -> None:
        """Write the history down."""
        known = {"served": self.served[-REMEMBERED:], "trying": self.trying}
        text = json.dumps(known, indent=1) + "\n"
        with contextlib.suppress(OSError):  # on a full disk the history itself says so
            files.write(self.file.with_name(COPY), text)
        files.write(self.file, text)  # last: who is killed before begins anew with what was known

    def begin(self, entry: Entry) -> None:
        """Note what is going to be started."""
        self.trying = entry
        self.save()

    def record(self, entry: Entry, by: str) -> None:
        """Note that an entry serves now."""
        self.served = [old for old in self.served if not same(old, entry)]
        self.served.append({**entry, "since": timestamp(), "by": by, "left": "", "why": ""})
        self.trying = None
        self.save()

    def measured(self, release: str, figures: dict[str, float]) -> None:
        """Note what a release costs as it served last.

        + release: its name; empty for what serves now
        """
        of_it = [entry for entry in self.served if not release or entry["release"] == release]
        if of_it and self.trying is None:
            of_it[-1]["figures"] = figures
            self.save()

    def give_up(self) -> None:
        """Note that nothing is being tried any more, if the disk lets us."""
        self.trying = None
        with contextlib.suppress(OSError):
            self.save()

    def unit_text(self) -> str:
        """Text of the unit in use."""
        units = [Path(entry["unit"]) for entry in self.served if entry["unit"]]
        return units[-1].read_text() if units and units[-1].exists() else ""


def timestamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
