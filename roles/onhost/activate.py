"""Switch an application between its releases, prove what was started, go back if it fails, and remember what served.

    activate.py --app FOLDER switch --release R [--unit FILE --text FILE] [--by WHO]
    activate.py --app FOLDER note [--unit FILE] [--by WHO]
    activate.py --app FOLDER back [--to R] [--now] [--by WHO]

`history.json` beside `current` holds what has served, oldest first, with the text of its unit: so going back needs
neither the network nor the controller. What is being tried is written down before it is started: a switch that was
killed half way is known as such afterwards.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

WORDS = 4
"""How many of the service's last lines are told where none of them says why."""

HARMLESS = {
    r"fatal: No (names|tags|annotated tags)\b.*": "`git describe` on a checkout without tags, run for each page",
    r"fatal: not a git repository.*": "git, asked for the version of an extension that is no checkout",
    r"\*\*\* Failed reading extension data from Git repository.*": "the extensions page, of a checkout at no branch",
    r"TypeError: HEAD is a detached symbolic reference.*": "the same",
    r"\*\*\* \"[^\"]*\" (arg|option) was (used|set).*": "extensions were switched off on purpose",
    r"Warning: caught exception '.*', memory monitor disabled": "the WebUI on a host without a GPU",
    r"ERROR: +Exception in ASGI application": "a heading: the traceback that follows says what happened",
    r".*: No module named pip": "the WebUI's system info lists packages by pip first",
    r"No module '[\w.]+'\. Proceeding without it\.": "an optional speed-up is not installed",
}
"""Lines that look like errors and mean nothing, as the WebUI 1.10.1 writes them -> where they come from."""

PLUMBING = re.compile(
    r"(anyio\.\w+|(asyncio|concurrent)(\.\w+)*\.CancelledError|(starlette\.requests\.)?ClientDisconnect"
    r"|h11\.\S*ProtocolError|ConnectionResetError|BrokenPipeError|\w*ExceptionGroup|(subprocess\.)?CalledProcessError)\b"
)
"""Exceptions of the web server's own: a client that left, or a wrapper around the exception that matters."""

KINDS = {
    "usage": re.compile(r"^\S+: error: (.+)"),
    "memory": re.compile(r"out of memory|OutOfMemory|oom-kill|OOM killer|Cannot allocate memory", re.I),
    "disk": re.compile(r"No space left on device|Disk quota exceeded|Read-only file system|Input/output error"),
    "crash": re.compile(r"Segmentation fault|core dumped|Fatal Python error|Illegal instruction|Aborted$"),
    "gpu": re.compile(r"CUDA error|cuDNN error|NCCL error|no kernel image is available|CUDA driver version"),
    "exception": re.compile(r"(^|[\s:|\]])[A-Za-z_][\w.]*(Error|Exception)(: |$)"),
    "nan": re.compile(r"A tensor with (all )?NaNs|produces? NaN|computes NaN"),
    "report": re.compile(r"^\*\*\* (?!API error)"),
    "fatal": re.compile(r"^(fatal|FATAL|CRITICAL|ERROR)\b:? "),
}
"""Kinds of lines that say what is wrong, the most telling first."""

TRACEBACK = "Traceback (most recent call last)"
GROUP = re.compile(r"^\s*(\||\+(?=\s)|\+-.*) ?")
"""What Python draws before the lines of an exception group."""

PROGRESS = re.compile(r"^\s*\d+%\|[^|]*\|[^\]]*\]|^Calculating sha256 for .*?: ")
"""What programs write without ending the line, so that the next one is glued to it."""

STARTING = "sdfleet: starting"
"""What the runner says of itself before there is anything to say."""

NOT_INSTALLED = 4
"""Exit status where the host has no such application."""

REMEMBERED = 20
"""Entries of the history that are kept."""

Entry = dict[str, Any]
"""release; unit (path, "" for an application without a service); text of the unit; since; by; left (when given up)."""


class ActivateError(Exception):
    """The switch did not succeed; the text is for a person."""


def systemctl(*args: str) -> bool:
    """Whether systemctl succeeded."""
    command = ["systemctl", *args]
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def put(file: Path, text: str) -> None:
    """Write a file beside its place, then rename it."""
    fresh = file.with_name(f".{file.name}.new")
    with fresh.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fchmod(stream.fileno(), 0o644)
        os.fsync(stream.fileno())
    fresh.replace(file)


def errors(lines: Iterable[str]) -> list[tuple[str, str]]:
    """The kind (of KINDS) and text of every line that tells of an error; of a traceback the exception alone."""
    found: list[tuple[str, str]] = []
    depth = -1  # how far the traceback is indented that is being read; -1 outside of one
    for line in (part for whole in lines for part in whole.rstrip().split("\r")):
        line = GROUP.sub("", line)
        text = PROGRESS.sub("", line).strip()
        if TRACEBACK in text:
            depth = max(len(line) - len(line.lstrip()), 0)
        elif depth >= 0 and (not text or line[depth : depth + 1] in (" ", "\t") or text[0] in "│╭╰❱"):
            continue
        elif depth >= 0:
            depth = -1
            if not harmless(text):
                found.append(("exception", text))
        elif text and not harmless(text):
            kind = next((name for name, pattern in KINDS.items() if pattern.search(text)), None)
            found += [(kind, text)] if kind else []
    return found


def harmless(text: str) -> bool:
    """Whether a line that looks like an error means nothing."""
    return bool(PLUMBING.match(text)) or any(re.fullmatch(pattern, text) for pattern in HARMLESS)


def reason(lines: list[str]) -> str:
    """Why a program failed, from what it wrote: the last line of the most telling kind, else its last lines."""
    found = errors(lines)
    for kinds in (("memory", "disk", "crash", "gpu"), ("usage", "exception", "nan"), ("report", "fatal")):
        if told := [text for kind, text in found if kind in kinds]:
            usage = KINDS["usage"].match(told[-1])
            return usage[1] if usage else told[-1]
    return " | ".join([line.strip() for line in lines if line.strip()][-WORDS:]) or "it wrote nothing"


def last_words(unit: str, since: float) -> str:
    """Why the service failed, by what it wrote since `since` (s since the epoch); its runner's sentence comes first."""
    command = ["journalctl", f"_SYSTEMD_UNIT={unit}", "--since", f"@{int(since)}", "--lines=200"]
    command += ["--output=cat", "--no-pager"]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    own = [line.removeprefix("sdfleet: ") for line in lines if line.startswith("sdfleet: ") and line != STARTING]
    others = [line for line in lines if not line.startswith("sdfleet: ")]
    if own and not errors(others):
        # A program that gives up in a sentence (sys.exit("...")) writes it last, and nothing marks it as an error.
        written = (PROGRESS.sub("", line.split("\r")[-1]).strip() for line in reversed(others))
        last = next((line for line in written if line and not harmless(line)), "")
        return own[-1] + (f"; its last line: {last}" if last else "")
    return ": ".join([*own[-1:], reason(others)])


def same(one: Entry, other: Entry) -> bool:
    """Whether two entries run the same release in the same way."""
    return (one["release"], one["text"]) == (other["release"], other["text"])


def differs(text: str, other: str) -> str:
    """What the unit `text` starts its program with and `other` doesn't, and the other way round, for a person."""
    one, two = launch(text), launch(other)
    more, less = ([word for word in a if word not in b] for a, b in ((one, two), (two, one)))
    told = [f"{name} {' '.join(words)}" for name, words in (("with", more), ("without", less)) if words]
    return ", ".join(told) or "with other settings"


def launch(text: str) -> list[str]:
    """The arguments that a unit passes on to its application: what follows `--` in its command."""
    command = next((line for line in text.splitlines() if line.startswith("ExecStart=")), "")
    return command.partition(" -- ")[2].split()


def called(entry: Entry, beside: Entry) -> str:
    """The entry's release, and what tells it from `beside` where that is the same release."""
    if entry["release"] != beside["release"]:
        return str(entry["release"])
    return f"{entry['release']} ({differs(entry['text'], beside['text'])})"


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
        put(self.file, json.dumps(known, indent=1) + "\n")

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
        self.point(entry["release"])
        if not entry["unit"]:
            return True
        unit = Path(entry["unit"])
        put(unit, entry["text"])
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
        old = {"release": self.current(), "text": self.unit_text()}
        there = [entry for entry in self.served if self.there(entry) and not same(entry, old)]
        chosen = [entry for entry in there if (entry["release"] == to if to else not entry["left"])]
        if not chosen:
            names = sorted({entry["release"] for entry in there})
            have = f"Available: {', '.join(names)}. Choose one with --to." if names else "No other release served here."
            raise ActivateError(f"{f'No release {to}' if to else 'No earlier release'}. {have}")
        entry = chosen[-1]
        before = self.installed(entry["unit"])
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.trying = entry
        self.save()
        since = time.time()
        if not self.start(entry, hurry):
            entry["left"] = now
            raise ActivateError(self.return_to(before, entry, since))
        for given_up in self.served:
            if same(given_up, old):
                given_up["left"] = now
        self.record(entry, by)
        return f"{old['release']} -> {called(entry, old)} in {time.monotonic() - began:.1f} s"

    def return_to(self, good: Entry | None, failed: Entry, since: float) -> str:
        """Run `good` again after `failed`, started at `since` (s since the epoch), did not start; what to tell."""
        name = Path(failed["unit"]).name
        told = f"{name} did not become ready: {last_words(name, since)}"
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


if __name__ == "__main__":
    main()
