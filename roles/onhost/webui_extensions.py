"""What the WebUI's extensions keep beside their own files: taken over from before, and shown to each release.

    webui_extensions.py take --extensions FOLDER --kept FOLDER --store FOLDER [--keep NAME...] [--drop NAME...]
    webui_extensions.py show --kept FOLDER --tree FOLDER

Extensions belong to releases. sdfleet used to check them out into the WebUI's data folder: `take` links what people put
there (settings, models) into `kept`, and removes the checkouts of `--drop`. `show` links what is kept of an extension
into its tree in a release. git is never run in folders where services may have written; what a commit holds is asked
of sdfleet's own store.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PASSED_OVER = {".git", "__pycache__"}


def tracked(extension: Path, store: Path) -> set[str]:
    """Files of the commit that an extension is checked out at; a sentence ends the program if nobody knows it."""
    commit = (extension / ".git/HEAD").read_text().strip()
    if not re.fullmatch("[0-9a-f]{40}", commit):
        sys.exit(f"{extension} is at {commit[:60]}, no commit of sdfleet's; move the folder away, then apply again")
    for bare in store.glob("*.git"):
        command = ["git", "-c", "safe.directory=*", "-C", str(bare), "ls-tree", "-rz", "--name-only", commit]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if done.returncode == 0:
            return {os.fsdecode(name) for name in done.stdout.split(b"\0") if name}
    sys.exit(f"{extension}: commit {commit[:12]} is not in {store}; move the folder away, then apply again")


def keep(extension: Path, kept: Path, known: set[str]) -> None:
    """Link every file that is not of the commit into `kept`, with its owner and mode; what is there stays."""
    kept.mkdir(parents=True, exist_ok=True)
    for place, folders, files in os.walk(extension):
        folders[:] = [name for name in folders if name not in PASSED_OVER]
        for name in files + [name for name in folders if Path(place, name).is_symlink()]:
            file = Path(place, name)
            target = kept / file.relative_to(extension)
            if str(file.relative_to(extension)) in known or name.endswith(".pyc") or os.path.lexists(target):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, target, follow_symlinks=False)


def show(kept: Path, tree: Path) -> None:
    """Link what is kept of an extension into its tree; a file or link that the extension has by itself comes first."""
    for place, folders, files in os.walk(kept):
        here = tree / Path(place).relative_to(kept)
        # Through a link of the extension's own, root would write wherever that leads.
        folders[:] = [name for name in folders if not (here / name).is_symlink()]
        for name in folders:
            (here / name).mkdir(exist_ok=True)
        for name in files:
            if not os.path.lexists(here / name):
                (here / name).symlink_to(Path(place, name))


def take(extensions: Path, kept: Path, store: Path, names: list[str], drop: list[str]) -> None:
    """Keep first, all of it; only then remove."""
    for name in dict.fromkeys([*names, *drop]):
        if (extensions / name / ".git").is_dir():
            keep(extensions / name, kept / name, tracked(extensions / name, store))
    for name in drop:
        aside = extensions.parent / f".{name}.dropped"  # out of the WebUI's sight at once
        shutil.rmtree(aside, ignore_errors=True)
        (extensions / name).rename(aside)
        shutil.rmtree(aside)


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    taking = verbs.add_parser("take")
    taking.add_argument("--extensions", type=Path, required=True, help="the WebUI's folder of extensions")
    taking.add_argument("--kept", type=Path, required=True, help="where what people put beside them is kept")
    taking.add_argument("--store", type=Path, required=True, help="sdfleet's bare repositories")
    taking.add_argument("--keep", nargs="*", default=[], help="extensions whose files are kept")
    taking.add_argument("--drop", nargs="*", default=[], help="those that go as well; an empty folder may")
    showing = verbs.add_parser("show")
    showing.add_argument("--kept", type=Path, required=True, help="what is kept of one extension; need not exist")
    showing.add_argument("--tree", type=Path, required=True, help="its tree in a release")
    options = parser.parse_args()
    if options.verb == "show":
        show(options.kept, options.tree.absolute())
    else:
        take(options.extensions, options.kept, options.store, options.keep, options.drop)


if __name__ == "__main__":
    main()
