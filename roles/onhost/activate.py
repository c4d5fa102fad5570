"""Switch an application between its releases, prove what was started, go back if it fails, and remember what served.

    activate --app FOLDER switch --release R [--unit FILE --text FILE] [--by WHO]
    activate --app FOLDER note [--unit FILE] [--by WHO]
    activate --app FOLDER figures [--release R] JSON
    activate --app FOLDER back [--to R] [--now] [--by WHO]

What served is in release_history, so going back needs neither the network nor the controller.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import json
import sys
import time
from pathlib import Path

from roles.onhost import files, journal, services
from roles.onhost.lock_file import open_lock
from roles.onhost.release_history import Entry, History, called, same, timestamp

NOT_INSTALLED = 4
"""Exit status where the host has no such application."""

SPACE = "`sdfleet models prune` makes room; `sdfleet status` shows what serves"
"""What to do where the disk is full."""


class ActivateError(Exception):
    """The switch did not succeed; the text is for a person."""


class App:
    """An application's folder: releases/, the link `current`, and the history of what served."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.releases = folder / "releases"
        self.link = folder / "current"
        self.history = History(folder / "history.json")

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
        services.change("reload")
        for verb in ("enable", "reset-failed", *(["kill"] if now else [])):
            services.change(verb, unit.name)
        return services.change("restart", unit.name)

    def there(self, entry: Entry) -> bool:
        """Whether the entry's release is still on the disk."""
        return (self.releases / str(entry["release"])).is_dir()

    def switch(self, wanted: Entry, by: str) -> None:
        """Run `wanted`; ActivateError if it did not become ready, after going back to what served last."""
        began = time.time()
        before = self.installed(wanted["unit"])
        served = self.history.served
        good = [entry for entry in served if self.there(entry)] or ([before] if before else [])
        self.history.begin(wanted)
        if self.start(wanted):
            if before and not served:
                self.history.record(before, "")
            self.history.record(wanted, by)
            return
        raise ActivateError(self.return_to(good[-1] if good else None, wanted, began))

    def note(self, unit: str, by: str) -> None:
        """Record what runs under `unit`, which a switch that was killed, or an older sdfleet, did not."""
        if (runs := self.installed(unit)) and (not unit or services.is_active(Path(unit).name)):
            self.history.record(runs, by)

    def back(self, to: str | None, by: str, hurry: bool) -> str:
        """Run what served before, or the release `to`; a sentence that says what was done.

        With `hurry` a picture in the making is not waited for.
        """
        history = self.history
        old: Entry = {"release": self.current(), "text": history.unit_text()}
        if history.trying and history.trying.get("back"):
            old = history.served[-1]  # a way back was killed: it is finished, and leads no further
        there = [entry for entry in history.served if self.there(entry) and not same(entry, old)]
        chosen = [entry for entry in there if (entry["release"] == to if to else not entry["left"])]
        if not chosen:
            names = sorted({entry["release"] for entry in there})
            have = f"Available: {', '.join(names)}. Choose one with --to." if names else "No other release served here."
            raise ActivateError(f"{f'No release {to}' if to else 'No earlier release'}. {have}")
        return self._go_back(chosen[-1], old, by, hurry)

    def return_to_earlier(self, entry: Entry, by: str, why: str) -> str:
        """Run an entry that served before, to the letter; a sentence that says what was done.

        + why: what speaks against the release that is left, for the history
        """
        if not self.there(entry):
            raise ActivateError(f"release {entry['release']} is no longer here")
        old: Entry = {"release": self.current() or "nothing", "text": self.history.unit_text()}
        return self._go_back(entry, old, by, hurry=False, why=why)

    def _go_back(self, entry: Entry, old: Entry, by: str, hurry: bool, why: str = "") -> str:
        """Run `entry` instead of `old`, which is not gone back to unless it is named."""
        began, history = time.monotonic(), self.history
        before = self.installed(entry["unit"])
        given_up_at = timestamp()
        history.begin({**entry, "back": True})
        since = time.time()
        if not self.start(entry, hurry):
            entry["left"] = given_up_at
            raise ActivateError(self.return_to(before, entry, since))
        for given_up in history.served:
            if same(given_up, old):
                given_up.update(left=given_up_at, why=why)
        history.record(entry, by)
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
        self.history.trying = None
        self.history.save()
        return f"{told}; {services.manager().place_of_log(name)} tells more"


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
    figures = verbs.add_parser("figures")
    figures.add_argument("--release", default="", help="whose they are; what serves now if not given")
    figures.add_argument("figures", type=json.loads, help="what it costs: an object of numbers")
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
    lock = open_lock(options.app / ".lock")
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
        elif options.verb == "figures":
            app.history.measured(options.release, options.figures)
        else:
            print(app.back(options.to, options.by, options.now))
    except ActivateError as error:
        sys.exit(str(error))
    except OSError as error:
        app.history.give_up()
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            sys.exit(f"{error.filename or options.app} cannot be written: {error.strerror}; {SPACE}")
        sys.exit(f"{error.filename or options.app}: {error.strerror}")
