"""Names that lead into the store: set atomically, removed when unwanted, never in the way of a person's own files."""

import contextlib
import os
import time
from pathlib import Path

from . import cards
from .manifest import Manifest
from .store import Problem, Store


def place(manifest: Manifest, store: Store, wanted: dict[Path, str]) -> list[str]:
    """Bring links and small texts to the manifest; returns one sentence for each change.

    `wanted` are the links of the manifest whose files are in the store. A file or folder that somebody else
    put under a wanted name is left alone and raises Problem at the end, after everything else was done.
    """
    changes: list[str] = []
    in_the_way: list[str] = []
    for path, sha256 in sorted(wanted.items()):
        if is_stranger(path, store):
            in_the_way.append(str(path))
        elif _link(path, store.blob(sha256)):
            changes.append(f"{path}: linked")
            if path in manifest.cards:
                changes += cards.place(path, manifest.cards[path])
    for path in manifest.unlink:
        if leads_into(path, store):
            path.unlink()
            changes.append(f"{path}: unlinked")
    for path, content in sorted(manifest.texts.items()):
        if _write(path, content):
            changes.append(f"{path}: written")
    if in_the_way:
        raise Problem(
            f"{', '.join(in_the_way)}: a file that sdfleet did not put there is in the way; "
            "move it aside, or give the model another name"
        )
    return changes


def leads_into(path: Path, store: Store) -> bool:
    """Whether `path` is a link into the store: those, and no others, are sdfleet's to change."""
    return path.is_symlink() and path.readlink().is_relative_to(store.root)


def is_stranger(path: Path, store: Store) -> bool:
    """Whether somebody else put something under that name."""
    return os.path.lexists(path) and not leads_into(path, store)


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, owned like the nearest one that exists.

    The WebUI's user must go on owning the tree it writes previews and uploads into.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent)
    owner = folder.parent.stat()
    folder.mkdir(mode=0o755, exist_ok=True)
    os.chown(folder, owner.st_uid, owner.st_gid)


def _link(path: Path, blob: Path) -> bool:
    if path.is_symlink() and path.readlink() == blob:
        return False
    make_folder(path.parent)
    _make_newest(blob, path)
    new = path.with_name(f".{path.name}.sdfleet-new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    new.symlink_to(blob)
    new.replace(path)
    return True


def _make_newest(blob: Path, path: Path) -> None:
    """Date the file after the one the name led to: the WebUI keeps the old hash of a file that is not newer."""
    before = path.stat().st_mtime if path.exists() else 0.0
    now = max(time.time(), before + 1)
    os.utime(blob, (now, now))


def _write(path: Path, content: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        if path.read_text() == content:
            return False
    make_folder(path.parent)
    new = path.with_name(f".{path.name}.sdfleet-new")
    new.write_text(content)
    new.replace(path)
    return True
