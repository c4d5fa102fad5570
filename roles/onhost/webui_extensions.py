"""What the WebUI's extensions keep beside their own files: taken over from before, and shown to each release.

    webui_extensions take --extensions FOLDER --kept FOLDER --store FOLDER [--keep NAME...] [--drop NAME...]
    webui_extensions show --kept FOLDER --tree FOLDER
    webui_extensions clear --extensions FOLDER NAME...

Extensions belong to releases. sdfleet used to check them out into the WebUI's data folder: `take` links what people put
there (settings, models) into `kept`, and removes the checkouts of `--drop`. `show` links what is kept of an extension
into its tree in a release, which is root's. `clear` removes empty folders. The WebUI may have written in the other
folders, so all of it goes by descriptors, and git is never run there: what a commit holds is asked of sdfleet's own
store.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from roles.onhost import nofollow, nofollow_changes

PASSED_OVER = {".git", "__pycache__"}
"""Names that are neither kept nor shown: root runs git in the trees, which would read its configuration from there."""


def tracked(extension: Path, store: Path) -> set[str]:
    """Files of the commit that an extension is checked out at; a sentence ends the program if nobody knows it."""
    commit = nofollow.read(extension / ".git/HEAD").decode(errors="replace").strip()
    if not re.fullmatch("[0-9a-f]{40}", commit):
        sys.exit(f"{extension} is at {commit[:60]}, no commit of sdfleet's; move the folder away, then apply again")
    for bare in store.glob("*.git"):
        command = ["git", "-C", str(bare), "ls-tree", "-rz", "--name-only", commit]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if done.returncode == 0:
            return {os.fsdecode(name) for name in done.stdout.split(b"\0") if name}
    sys.exit(f"{extension}: commit {commit[:12]} is not in {store}; move the folder away, then apply again")


def keep(extension: Path, kept: Path, known: set[str]) -> None:
    """Link every file that is not of the commit into `kept`, with its owner and mode; what is there stays."""
    with (
        nofollow.folder(extension) as tree,
        nofollow.folder(kept.parent.parent) as data,
        _inside(data, kept.parent.name) as home,
        _inside(home, kept.name) as into,
    ):
        _keep(tree, into, "", known, nofollow.DEEPEST)


def _keep(tree: int, into: int, above: str, known: set[str], depth: int) -> None:
    for name, mode in _entries(tree):
        if stat.S_ISDIR(mode):
            if name not in PASSED_OVER and depth and (below := _opened(tree, name)) is not None:
                try:
                    if _has_own(below, f"{above}{name}/", known, depth - 1):
                        with _inside(into, name) as further:
                            _keep(below, further, f"{above}{name}/", known, depth - 1)
                finally:
                    os.close(below)
        elif _is_own(name, mode, above, known):
            with contextlib.suppress(FileExistsError):
                os.link(name, name, src_dir_fd=tree, dst_dir_fd=into, follow_symlinks=False)


def _has_own(tree: int, above: str, known: set[str], depth: int) -> bool:
    """Whether anything below an open folder is not of the commit."""
    for name, mode in _entries(tree):
        if not stat.S_ISDIR(mode):
            if _is_own(name, mode, above, known):
                return True
        elif name not in PASSED_OVER and depth and (below := _opened(tree, name)) is not None:
            try:
                if _has_own(below, f"{above}{name}/", known, depth - 1):
                    return True
            finally:
                os.close(below)
    return False


def _is_own(name: str, mode: int, above: str, known: set[str]) -> bool:
    kind = stat.S_ISREG(mode) or stat.S_ISLNK(mode)
    return kind and f"{above}{name}" not in known and not name.endswith(".pyc")


def show(kept: Path, tree: Path) -> None:
    """Link what is kept of an extension into its tree; a file or link that the extension has by itself comes first."""
    with contextlib.suppress(FileNotFoundError), nofollow.folder(kept) as have, nofollow.folder(tree) as into:
        _show(have, into, kept, nofollow.DEEPEST)


def _show(have: int, into: int, place: Path, depth: int) -> None:
    for name, mode in _entries(have):
        if name in PASSED_OVER:
            continue
        if not stat.S_ISDIR(mode):
            with contextlib.suppress(FileExistsError):
                os.symlink(place / name, name, dir_fd=into)
        elif depth and (below := _opened(have, name)) is not None:
            try:
                # Through a link of the extension's own, root would write wherever that leads.
                with contextlib.suppress(nofollow.UnsafeError), _inside(into, name) as further:
                    _show(below, further, place / name, depth - 1)
            finally:
                os.close(below)


def take(extensions: Path, kept: Path, store: Path, names: list[str], drop: list[str]) -> None:
    """Keep first, all of it; only then remove."""
    for name in dict.fromkeys([*names, *drop]):
        if nofollow.exists(extensions / name / ".git"):
            keep(extensions / name, kept / name, tracked(extensions / name, store))
    with nofollow.folder(extensions.parent) as data, nofollow.folder(extensions) as opened:
        for name in drop:
            aside = f".{name}.dropped"  # out of the WebUI's sight at once
            nofollow_changes.remove_in(data, aside)
            os.rename(name, aside, src_dir_fd=opened, dst_dir_fd=data)
            nofollow_changes.remove_in(data, aside)


def clear(extensions: Path, names: list[str]) -> None:
    """Remove empty folders."""
    with nofollow.folder(extensions) as opened:
        for name in names:
            os.rmdir(name, dir_fd=opened)


def _entries(opened: int) -> list[tuple[str, int]]:
    """Names in an open folder with their modes; what goes away meanwhile is left out."""
    found = []
    for name in sorted(os.listdir(opened)):
        with contextlib.suppress(FileNotFoundError):
            found.append((name, os.lstat(name, dir_fd=opened).st_mode))
    return found


def _opened(parent: int, name: str) -> int | None:
    """A folder in an open folder; None if it is something else by now."""
    try:
        return os.open(name, nofollow.FOLDER, dir_fd=parent)
    except OSError:
        return None


@contextlib.contextmanager
def _inside(parent: int, name: str) -> Iterator[int]:
    """A folder in an open folder, made as root's if nothing has its name. UnsafeError if it is a link or a file."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=parent)
    opened = _opened(parent, name)
    if opened is None:
        raise nofollow.UnsafeError(f"{name} is no folder but a link or a file: move it away")
    try:
        yield opened
    finally:
        os.close(opened)


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
    clearing = verbs.add_parser("clear")
    clearing.add_argument("--extensions", type=Path, required=True, help="the WebUI's folder of extensions")
    clearing.add_argument("names", nargs="+", help="empty folders in it")
    options = parser.parse_args()
    try:
        if options.verb == "show":
            show(options.kept, options.tree.absolute())
        elif options.verb == "clear":
            clear(options.extensions, options.names)
        else:
            take(options.extensions, options.kept, options.store, options.keep, options.drop)
    except OSError as error:
        sys.exit(str(error))
