"""Remove an application's old releases, and the environments that nothing on the host needs any more.

    prune --app FOLDER --keep N [--mark FILE] [--environments FOLDER]

The release in use stays, then those that served last (history.json tells), those that were given up after all others,
then the youngest; and every one that a process was started from: a training run keeps the release it began with.
Folders without the mark are not sdfleet's: they are not counted, and stay.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import re
import time
from pathlib import Path

from roles.onhost import confirm, files, release_history
from roles.onhost.lock_file import open_lock

YOUNG_SECONDS = 86400
"""An environment younger than this may belong to a release that is still to be built."""

UNITS = Path("/etc/systemd/system")

MANIFEST = "manifest.json"
"""File of a release that sdfleet writes last."""

HISTORIES = ("history.json", release_history.COPY)


def prune_releases(app: Path, keep: int, mark: str = MANIFEST) -> None:
    """Keep `keep` releases of the application, and remove what interrupted builds left.

    + mark: file that a whole release has
    """
    releases, link = app / "releases", app / "current"
    for leftover in (*releases.glob(".*.building"), *releases.glob(".*.old")):
        with contextlib.suppress(OSError):
            files.remove(leftover)
    entries, _ = release_history.whole(app) or ([], None)
    served = [entry["release"] for entry in sorted(reversed(entries), key=lambda entry: bool(entry["left"]))]
    built = [folder for folder in releases.iterdir() if (folder / mark).is_file()]
    youngest = sorted(built, key=lambda folder: folder.stat().st_mtime, reverse=True)
    order = [link.readlink().name if link.is_symlink() else "", *served, *(folder.name for folder in youngest)]
    names = {folder.name for folder in built}
    kept = list(dict.fromkeys(name for name in order if name in names))[:keep]
    waiting = files.read_json(confirm.STATE / "pending.json").get("apps", [])
    kept += [entry["release"] for entry in waiting if entry["folder"] == str(app)]  # it may be put back
    for folder in youngest:
        if folder.name not in kept and not in_use(folder):
            remove(folder, folder.with_name(f".{folder.name}.old"))


def prune_options(app: Path) -> None:
    """Remove files of options that neither the history nor a unit names."""
    named = texts_of(*(app / name for name in HISTORIES), *UNITS.glob("*.service"))
    for file in app.glob("options-*.json"):
        if not any(file.name in text for text in named):
            file.unlink()


def prune_environments(environments: Path, apps: Path) -> None:
    """Remove environments that no release, history or unit names, unless they are young."""
    named = [str(link.readlink()) for link in apps.glob("*/releases/*/env") if link.is_symlink()]
    texts = [*apps.glob("*/releases/*/manifest.json"), *apps.glob("*/releases/*/bin/*")]
    texts += [file for name in HISTORIES for file in apps.glob(f"*/{name}")]
    named += texts_of(*texts, *UNITS.glob("*.service"))
    for folder in environments.iterdir():
        old = time.time() - folder.stat().st_mtime > YOUNG_SECONDS
        known = any(folder.name in text for text in named)
        if re.fullmatch("[0-9a-f]{16}", folder.name) and old and not known and not in_use(folder):
            remove(folder, folder.with_name(f".{folder.name}.building"))


def texts_of(*files: Path) -> list[str]:
    """What stands in those of the files that are there."""
    return [file.read_text(errors="replace") for file in files if file.is_file()]


def in_use(folder: Path) -> bool:
    """Whether a process was started from this folder."""
    mark = f"{folder}/".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes() + (process / "cmdline").read_bytes():
                return True
        except OSError:
            continue
    return False


def remove(folder: Path, aside: Path) -> None:
    """Remove a folder under a name that says it is not whole."""
    files.remove(aside)
    folder.rename(aside)
    files.remove(aside)


def main() -> None:
    """Prune one application."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--app", type=Path, required=True, help="folder with releases/ and current")
    parser.add_argument("--keep", type=int, required=True, help="how many releases stay")
    parser.add_argument("--mark", default=MANIFEST, help="file that a whole release has")
    parser.add_argument("--environments", type=Path, help="folder of environments, if those are to go too")
    options = parser.parse_args()
    # The same lock as a switch takes: what it is about to start must not go.
    lock = open_lock(options.app / ".lock")
    fcntl.flock(lock, fcntl.LOCK_EX)
    prune_releases(options.app, options.keep, options.mark)
    prune_options(options.app)
    if options.environments:
        prune_environments(options.environments, options.app.parent)
