"""Links into the store: created atomically, removed when unwanted, never in place of users' own files."""

import contextlib
import os
import time
from pathlib import Path

from roles.onhost import nofollow, nofollow_changes

from . import model_cards
from .manifest import Manifest
from .store import Problem, Store


def place_links(manifest: Manifest, store: Store, wanted: dict[Path, str]) -> list[str]:
    """Bring links and small texts to the manifest's state; returns one sentence per change.

    `wanted` are the links of the manifest whose files are in the store. An unmanaged file or folder under a wanted name
    is not touched and raises Problem at the end, after everything else was done. The folders belong to services, which
    can put anything there: nothing is done by path.
    """
    changes: list[str] = []
    in_the_way: list[str] = []
    try:
        _place(manifest, store, wanted, changes, in_the_way)
    except nofollow.UnsafeError as error:
        raise Problem(f"{error}; a models folder that lies elsewhere can be mounted (mount --bind)") from None
    if in_the_way:
        raise Problem(
            f"{', '.join(in_the_way)}: a file that sdfleet did not put there is in the way; "
            "move it aside, or give the model another name"
        )
    return changes


def _place(
    manifest: Manifest, store: Store, wanted: dict[Path, str], changes: list[str], in_the_way: list[str]
) -> None:
    for path, sha256 in sorted(wanted.items()):
        if is_unmanaged(path, store):
            in_the_way.append(str(path))
        elif _link(path, store.blob(sha256)):
            changes.append(f"{path}: linked")
            if path in manifest.cards:
                changes += model_cards.place_card(path, manifest.cards[path])
    for path in manifest.unlink:
        if leads_into(path, store):
            nofollow_changes.unlink(path)
            changes.append(f"{path}: unlinked")
    for path, content in sorted(manifest.texts.items()):
        if _write(path, content):
            changes.append(f"{path}: written")


def leads_into(path: Path, store: Store) -> bool:
    """Whether `path` is a link into the store: only those may be changed by sdfleet."""
    return Path(nofollow.target_of(path)).is_relative_to(store.root)


def is_unmanaged(path: Path, store: Store) -> bool:
    """Whether something that sdfleet did not create has this name."""
    return nofollow.exists(path) and not leads_into(path, store)


def _link(path: Path, blob: Path) -> bool:
    before = nofollow.target_of(path)
    if before == str(blob):
        return False
    nofollow_changes.make_alike(path.parent)
    _make_newest(blob, Path(before or blob))
    nofollow_changes.link(path, str(blob))
    return True


def _make_newest(blob: Path, before: Path) -> None:
    """Date the file after the previous target: the WebUI keeps the old hash of a file that is not newer."""
    then = before.stat().st_mtime if before.exists() else 0.0
    now = max(time.time(), then + 1)
    os.utime(blob, (now, now))


def _write(path: Path, content: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        if nofollow.read(path) == content.encode():
            return False
    nofollow_changes.make_alike(path.parent)
    nofollow_changes.write(path, content.encode())
    return True
