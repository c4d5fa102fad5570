"""Upstreams that move on between two hosts: a new release, a new model, all under the names that they had."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from lab import box
from lab.upstreams.catalog import BASE_MODEL, BASE_MODEL_FILE, WEBUI, WEBUI_TAG
from lab.upstreams.repositories import publish, read_ref, set_ref
from lab.upstreams.service import Folders
from tests.typed import Hosts

REFS = ("refs/heads/master", f"refs/tags/{WEBUI_TAG}")
NEWER = "newer.toml"
"""A copy of fleet.toml whose lock was made when upstream had moved on."""


@contextlib.contextmanager
def moved_on(hosts: Hosts) -> Iterator[None]:
    """Move the WebUI's branch and tag and the model's main branch, and put them back at the end."""
    folders = Folders(hosts.lab.folder.upstreams)
    bare, main = folders.git / f"{WEBUI}.git", folders.hub / BASE_MODEL / "main"
    before = {ref: read_ref(bare, ref) for ref in REFS}
    newer = publish(bare, {"launch.py": b"raise SystemExit('this release is newer than the lock')\n"}, "Newer")
    set_ref(bare, REFS[1], newer)
    # The old commit stays to be had by its id, as on a real hub.
    kept = main.rename(main.with_name("before"))
    main.mkdir()
    (main / BASE_MODEL_FILE).write_bytes(b"newer than the lock")
    try:
        _lock_anew(hosts)
        yield
    finally:
        for ref, commit in before.items():
            set_ref(bare, ref, commit)
        shutil.rmtree(main)
        kept.rename(main)


def _lock_anew(hosts: Hosts) -> Path:
    file = hosts.folder / NEWER
    shutil.copyfile(hosts.file, file)
    box.pin(hosts.lab, file)
    return file
