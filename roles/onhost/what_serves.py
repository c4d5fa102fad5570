"""What serves on a host, written down before it is changed, and put back: releases, units, gateway, mirrors.

Releases and their units are put back by `activate`, from the history that it keeps. Other files are kept as they are.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from roles.onhost import files, release_history, services
from roles.onhost.activate import ActivateError, App
from roles.onhost.lock_file import open_lock

Known = dict[str, Any]
"""apps: what serves of each; units: file -> text, and whether it ran; files: file -> text and mode, or None."""
ITSELF = "the host itself"
"""Who went back, in the history of releases."""
SERVES = ("active", "activating", "reloading")
CACHE = "sdfleet-cache.service"
"""Its files are not put back, and so its unit is not."""


def look(homes: Iterable[Path], unit_files: Iterable[Path], kept: Iterable[Path]) -> Known:
    """What serves now; no `apps` if nothing does.

    + homes: folders with an application's releases/ and current, which need not be there
    + unit_files: files of units of sdfleet's, those of applications among them
    + kept: other files, which need not be there
    """
    served = {home: _served(home) for home in homes}
    apps = [{**entry, "folder": str(home)} for home in served if (entry := _serving(home, served[home]))]
    own = {Path(entry["unit"]).resolve() for entries in served.values() for entry in entries if entry["unit"]}
    units = {
        str(file): {"text": file.read_text(), "ran": services.state(file.name) in SERVES}
        for file in unit_files
        if file.resolve() not in own and file.name != CACHE and _plain(file)
    }
    left = served.keys() - {Path(entry["folder"]) for entry in apps}
    return {
        "apps": apps,
        "units": units,
        "files": {str(file): _content(file) for file in kept if file.parent not in left and not file.is_symlink()},
    }


def _served(home: Path) -> list[release_history.Entry]:
    """What has served of an application."""
    try:
        served, _ = release_history.whole(home) or ([], None)
    except OSError:
        return []
    return served


def _serving(home: Path, served: list[release_history.Entry]) -> release_history.Entry | None:
    """The release that serves of an application, with its unit; None if none has served, or its service is down."""
    units = [entry["unit"] for entry in served if entry["unit"]]
    found = App(home).installed(units[-1] if units else "") if served else None
    if found and found["unit"] and services.state(Path(found["unit"]).name) not in SERVES:
        return None
    return found


def _plain(file: Path) -> bool:
    return file.is_file() and not file.is_symlink()


def _content(file: Path) -> dict[str, Any] | None:
    return {"text": _text(file), "mode": file.stat().st_mode & 0o777} if _plain(file) else None


def _text(file: Path) -> str:
    """A file's bytes as text for JSON, each of them kept: not every file of others is UTF-8."""
    return file.read_bytes().decode(errors="surrogateescape")


def put_back(known: Known, why: str) -> tuple[list[str], list[str]]:
    """Put back what differs from `known`, each part as far as possible.

    + why: for the history of releases
    Returns what was put back, and what could not be, in words for a person.
    """
    done: list[str] = []
    failed: list[str] = []
    closed = {entry["folder"] for entry in known["apps"] if not Path(entry["folder"]).is_dir()}
    kept = {name: its for name, its in known["files"].items() if str(Path(name).parent) not in closed}
    apps = [entry for entry in known["apps"] if entry["folder"] not in closed]
    changed = {name: its for name, its in known["units"].items() if not _is_text(Path(name), its["text"])}
    # In this order: a gateway starts with its certificate, an application with the files of its units, and what runs
    # beside an application from the release that it has then.
    for part in (_files(kept), _texts(changed), _apps(apps, why), _runs(changed)):
        for name, work in part:
            try:
                if said := work():
                    done.append(said)
            except (OSError, ActivateError) as error:
                failed.append(f"{name}: {error}")
    return done, failed


Work = Iterator["tuple[str, Callable[[], str]]"]
"""The name of each thing, and what puts it back: it says what it did, nothing if there was nothing to do."""


def _files(wanted: dict[str, Any]) -> Work:
    for name, content in wanted.items():
        yield name, partial(_file, Path(name), content)


def _file(place: Path, content: dict[str, Any] | None) -> str:
    if _content(place) == content or place.is_symlink():
        return ""
    if content is None:
        place.unlink()
        return f"{place} is gone again"
    files.write(place, content["text"].encode(errors="surrogateescape"), content["mode"])
    return f"{place} as it was"


def _texts(units: dict[str, Any]) -> Work:
    for name, its in units.items():
        yield name, partial(_write, Path(name), its["text"])
    if units:
        services.change("reload")


def _runs(units: dict[str, Any]) -> Work:
    for name, its in units.items():
        yield name, partial(_run_again, Path(name), its["ran"])


def _write(place: Path, text: str) -> str:
    files.write(place, text)
    return ""


def _is_text(place: Path, text: str) -> bool:
    return _plain(place) and place.read_text() == text


def _run_again(place: Path, ran: bool) -> str:
    """Run a unit with its file, if it ran before and is none that others are instances of.

    Not a slice: all that runs in it would be restarted, trainings among it.
    """
    if ran and "@." not in place.name and place.suffix != ".slice":
        for verb in ("enable", "reset-failed"):
            services.change(verb, place.name)
        if why := services.manager().attempt("restart", place.name):
            raise ActivateError(why)
    return f"{place.name} as it was"


def _apps(wanted: list[dict[str, Any]], why: str) -> Work:
    for entry in wanted:
        home = Path(entry["folder"])
        kept = {key: entry[key] for key in ("release", "unit", "text")}
        yield home.name, partial(_app, home, kept, why)


def _app(home: Path, entry: release_history.Entry, why: str) -> str:
    # One at a time, as for every switch.
    lock = open_lock(home / ".lock")
    fcntl.flock(lock, fcntl.LOCK_EX)
    app = App(home)
    now = app.installed(entry["unit"])
    half_way = bool(app.history.trying and app.history.trying.get("back"))  # we were killed: it may not have restarted
    if now and release_history.same(now, entry) and not half_way:
        return ""
    try:
        return f"{home.name} {app.return_to_earlier(entry, ITSELF, why)}"
    except OSError:
        app.history.give_up()
        raise
