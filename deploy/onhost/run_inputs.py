"""Make and remove the folders of runs, with inputs that many runs may share."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.onhost.hashing import sha256_of
from deploy.onhost.run_states import state_of
from roles.onhost import files, nofollow, services

OWN = 0o1775
"""Mode of a run's folder."""
ABANDONED_SECONDS = 86400
"""Uploaded inputs that belong to no run are deleted after this time."""


def missing(run: str, store: str, hashes: list[str]) -> list[str]:
    """Which of `hashes` are missing or altered in the store: an edited input of a run is the store's file too.

    + run: the folder of the run that needs them; ValueError if there is one already
    """
    _refuse_taken(Path(run))
    blobs = {sha256: _blob(store, sha256) for sha256 in hashes}
    return [sha256 for sha256, blob in blobs.items() if not blob.exists() or _hash_of(blob) != sha256]


def create(
    run: str, store: str, incoming: str, inputs: dict[str, str], config: str, turn: dict[str, Any], user: str
) -> dict[str, Any]:
    """Move the files in `incoming` into the store and create the folder `run`, completely or not at all."""
    final, arrived = Path(run), Path(incoming)
    _refuse_taken(final)
    for file in sorted(arrived.glob("*")):
        if _hash_of(file) != file.name:
            raise ValueError(f"{file.name[:12]} arrived damaged; send it again")
        blob = _blob(store, file.name)
        blob.parent.mkdir(parents=True, exist_ok=True)
        file.replace(blob)
    shutil.rmtree(arrived, ignore_errors=True)
    half = final.parent / f".{final.name}.new"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    for name, sha256 in inputs.items():
        target = half / "inputs" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(_blob(store, sha256), target)
    for name, text in (("config.toml", config), ("turn.json", json.dumps(turn))):
        with (half / name).open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
    if "program" in turn:
        # Trainers of older sdfleets rewrite the complete config, so they must own it.
        shutil.chown(half / "config.toml", user, user)
    shutil.chown(half, "root" if os.geteuid() == 0 else user, user)
    half.chmod(OWN)
    if final.exists():  # left by a controller that was killed before it started the run
        final.rename(_gone(final))
    half.rename(final)
    _tidy(final.parent, Path(store))  # now that the run holds its inputs
    return {}


def _refuse_taken(run: Path) -> None:
    """Raise ValueError if there is a run that was started."""
    if run.exists() and state_of(run)["state"] != "created":
        follow = f"to follow that one: sdfleet train follow {run.name}"
        raise ValueError(f"there is already a run with this name; choose another with --name; {follow}")


def inputs(run: str) -> dict[str, str]:
    """Current sha256 of every input, by its path below inputs/."""
    return dict(_hashed(Path(run, "inputs")))


def remove(run: str, store: str) -> dict[str, Any]:
    """Delete a run that is not running, and the inputs that no other run uses."""
    folder = Path(run)
    if not folder.exists():
        raise ValueError("no such run on this host")
    if state_of(folder)["state"] in ("running", "queued"):
        raise ValueError("it is still going; stop it first with `sdfleet train stop`")
    folder.rename(_gone(folder))
    for verb in ("disable", "reset-failed"):
        services.change(verb, f"lora-train@{folder.name}.service")
    _tidy(folder.parent, Path(store))
    return {}


def _gone(run: Path) -> Path:
    """The temporary name of a run that is being removed; `_tidy` deletes all that have such a name."""
    place = run.parent / f".{run.name}.gone"
    files.remove(place)
    return place


def _tidy(runs: Path, store: Path) -> None:
    """Delete runs that are being removed, with inputs that no other run uses, and leftovers of killed controllers."""
    for gone in runs.glob(".*.gone"):
        # The store first: the folder is what names the inputs.
        for sha256, names in Counter(sha256 for _, sha256 in _hashed(gone / "inputs")).items():
            blob = _blob(str(store), sha256)
            if blob.exists() and blob.stat().st_nlink <= 1 + names:
                blob.unlink()
        files.remove(gone)
    for arrived in store.glob("incoming-*"):
        if time.time() - arrived.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(arrived, ignore_errors=True)


def _hashed(folder: Path) -> Iterator[tuple[str, str]]:
    """Every regular file below a folder and its sha256; none if there is no folder."""
    with contextlib.suppress(FileNotFoundError):
        for path, parent, name in nofollow.files_below(folder):
            with contextlib.suppress(OSError), nofollow.open_in(parent, name) as stream:
                yield path, sha256_of(stream, os.fstat(stream.fileno()).st_size)


def _blob(store: str, sha256: str) -> Path:
    return Path(store, "sha256", sha256[:2], sha256)


def _hash_of(file: Path) -> str:
    with file.open("rb") as stream:
        return sha256_of(stream, os.fstat(stream.fileno()).st_size)
