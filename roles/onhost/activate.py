"""Switch an application between its releases, prove what was started, go back if it fails, and remember what served.

    activate --app FOLDER switch --release R [--unit FILE --text FILE] [--by WHO]
    activate --app FOLDER note [--unit FILE] [--by WHO]
    activate --app FOLDER back [--to R] [--now] [--by WHO]

`history.json` beside `current` holds what has served, oldest first, with the text of its unit: so going back needs
neither the network nor the controller. What is being tried is written down before it is started: a switch that was
killed half way is known as such afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import json
import sys
import time
from pathlib import Path
from typing import Any

from roles.onhost import files, journal, unit_changes
from roles.onhost.systemd import systemctl

NOT_INSTALLED = 4
"""Exit status where the host has no such application."""

SPACE = "`sdfleet models prune` makes room; `sdfleet status` shows what serves"
"""What to do where the disk is full."""

REMEMBERED = 20
"""Entries of the history that are kept."""

Entry = dict[str, Any]
"""release; unit (path, "" for an application without a service); text of the unit; since; by; left (when given up)."""


class ActivateError(Exception):
    """The switch did not succeed; the text is for a person."""


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


class App:
    """An application's folder: releases/, the link `current`, and the history of what served."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.releases = folder / "releases"
        self.link = folder / "current"
        self.file = folder / "history.json"
        self.served: list[Entry] = []
        self.trying: Entry | None = None
        try:
            self.served, self.trying = read_history(self.file.read_text())
        except FileNotFoundError:
            pass  # a host of before there was a history; what runs now becomes its first entry
        except (ValueError, LookupError, TypeError, AttributeError):
            aside = self.file.with_name("history.json.damaged")
            self.file.replace(aside)
            print(f"{self.file} was damaged and is {aside.name} now; a new one is begun", file=sys.stderr)

    def save(self) -> None:
        """Write the history down."""
        known = {"served": self.served[-REMEMBERED:], "trying": self.trying}
        files.write(self.file, json.dumps(known, indent=1) + "\n")

    def current(self) -> str | None:
        """Name of the release that `current` leads to."""
        return self.link.readlink().name if self.link.is_symlink() else None

    def point(self, release: str) -> None:
        """Make `current` lead to a release, with no moment in which it leads nowhere."""
        fresh = self.link.with_name(f".{self.link.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(Path("releases") / release)
        fresh.replace(self.link)

    def installed(self, unit: str) -> Entry | None:
        """What would run under `unit` after a reboot; None if that is nothing whole."""
        release = self.current()
        if release is None or not (self.releases / release).is_dir():
            return None
        if not unit:
            return {"release": release, "unit": "", "text": ""}
        file = Path(unit)
        return {"release": release, "unit": unit, "text": file.read_text()} if file.exists() else None

    def start(self, entry: Entry, now: bool = False) -> bool:
        """Run a release under its unit; whether it became ready. `now` leaves what runs no time to finish."""
        if not entry["unit"]:
            self.point(entry["release"])
            return True
        unit = Path(entry["unit"])
        files.write(unit, entry["text"])  # first: if the disk is full, nothing has changed yet
        self.point(entry["release"])
        systemctl("daemon-reload")
        systemctl("enable", "--quiet", unit.name)
        systemctl("reset-failed", unit.name)
        if now:
            systemctl("kill", "--signal=KILL", unit.name)
        return systemctl("restart", unit.name)

    def record(self, entry: Entry, by: str) -> None:
        """Note that an entry serves now."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.served = [old for old in self.served if not same(old, entry)]
        self.served.append({**entry, "since": now, "by": by, "left": ""})
        self.trying = None
        self.save()

    def give_up(self) -> None:
        """Note that nothing is being tried any more, if the disk lets us."""
        self.trying = None
        with contextlib.suppress(OSError):
            self.save()

    def there(self, entry: Entry) -> bool:
        """Whether the entry's release is still on the disk."""
        return (self.releases / str(entry["release"])).is_dir()

    def switch(self, wanted: Entry, by: str) -> None:
        """Run `wanted`; ActivateError if it did not become ready, after going back to what served last."""
        began = time.time()
        before = self.installed(wanted["unit"])
        good = [entry for entry in self.served if self.there(entry)] or ([before] if before else [])
        self.trying = wanted
        self.save()
        if self.start(wanted):
            if before and not self.served:
                self.record(before, "")
            self.record(wanted, by)
            return
        raise ActivateError(self.return_to(good[-1] if good else None, wanted, began))

    def note(self, unit: str, by: str) -> None:
        """Record what runs under `unit`, which a switch that was killed, or an older sdfleet, did not."""
        if (now := self.installed(unit)) and (not unit or systemctl("is-active", "--quiet", Path(unit).name)):
            self.record(now, by)

    def back(self, to: str | None, by: str, hurry: bool) -> str:
        """Run what served before, or the release `to`; a sentence that says what was done.

        With `hurry` a picture in the making is not waited for.
        """
        began = time.monotonic()
        old: Entry = {"release": self.current(), "text": self.unit_text()}
        if self.trying and self.trying.get("back"):
            old = self.served[-1]  # a way back was killed: it is finished, and leads no further
        there = [entry for entry in self.served if self.there(entry) and not same(entry, old)]
        chosen = [entry for entry in there if (entry["release"] == to if to else not entry["left"])]
        if not chosen:
            names = sorted({entry["release"] for entry in there})
            have = f"Available: {', '.join(names)}. Choose one with --to." if names else "No other release served here."
            raise ActivateError(f"{f'No release {to}' if to else 'No earlier release'}. {have}")
        entry = chosen[-1]
        before = self.installed(entry["unit"])
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.trying = {**entry, "back": True}
        self.save()
        since = time.time()
        if not self.start(entry, hurry):
            entry["left"] = now
            raise ActivateError(self.return_to(before, entry, since))
        for given_up in self.served:
            if same(given_up, old):
                given_up["left"] = now
        self.record(entry, by)
        change = called(entry, old)
        told = change if entry["release"] == old["release"] else f"{old['release']} -> {change}"
        return f"{told} in {time.monotonic() - began:.1f} s"

    def return_to(self, good: Entry | None, failed: Entry, since: float) -> str:
        """Run `good` again after `failed`, started at `since` (s since the epoch), did not start; what to tell."""
        name = Path(failed["unit"]).name
        told = f"{name} did not become ready: {journal.last_words(name, since)}"
        if good and not same(good, failed):
            well = self.start(good, now=True)  # what failed draws nothing worth waiting for
            told += f"; went back to {called(good, failed)}" + ("" if well else ", which does not start either")
        self.trying = None
        self.save()
        return f"{told}; journalctl -u {name} tells more"

    def unit_text(self) -> str:
        """Text of the unit in use."""
        units = [Path(entry["unit"]) for entry in self.served if entry["unit"]]
        return units[-1].read_text() if units and units[-1].exists() else ""


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--app", type=Path, required=True, help="folder with releases/ and current")
    verbs = parser.add_subparsers(dest="verb", required=True)
    switch = verbs.add_parser("switch")
    switch.add_argument("--release", required=True, help="name of a release")
    switch.add_argument("--unit", default="", help="the unit's file; none for an application without a service")
    switch.add_argument("--text", type=Path, help="file with the unit's new text; removed")
    switch.add_argument("--by", default="", help="who asks for it")
    note = verbs.add_parser("note")
    note.add_argument("--unit", default="", help="the unit's file; none for an application without a service")
    note.add_argument("--by", default="", help="who asks for it")
    back = verbs.add_parser("back")
    back.add_argument("--to", help="name of a release; the one that served before if not given")
    back.add_argument("--now", action="store_true", help="wait for no picture in the making")
    back.add_argument("--by", default="", help="who asks for it")
    return parser.parse_args()


def main() -> None:
    """Exit 1 with one sentence if the release did not become ready, NOT_INSTALLED if there is no such application."""
    options = arguments()
    if not options.app.is_dir():
        print(f"{options.app.name} is not installed here", file=sys.stderr)
        sys.exit(NOT_INSTALLED)
    # One at a time: a run whose controller died may still be waiting for its service.
    lock = (options.app / ".lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    app = App(options.app)
    try:
        if options.verb == "switch":
            text = options.text.read_text() if options.text else ""
            if options.text:
                options.text.unlink()
            app.switch({"release": options.release, "unit": options.unit, "text": text}, options.by)
        elif options.verb == "note":
            app.note(options.unit, options.by)
        else:
            print(app.back(options.to, options.by, options.now))
    except ActivateError as error:
        sys.exit(str(error))
    except OSError as error:
        app.give_up()
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            sys.exit(f"{error.filename or options.app} cannot be written: {error.strerror}; {SPACE}")
        sys.exit(f"{error.filename or options.app}: {error.strerror}")
