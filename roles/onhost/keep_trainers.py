"""Keep code and lock of every trainer that the host has or had, so that its runs can be made again elsewhere.

    keep_trainers APP ENVIRONMENTS

APP/sources/KEY holds training.zip, requirements.lock and the release's manifest.json: root's copies, which outlive the
release. What the runs themselves keep beside their records is theirs, and nothing is built of it.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
import zipfile
from pathlib import Path

KINDS = (".py", ".json", ".html")
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Both as in training/archive.py, whose bytes this makes again."""


def keep(app: Path, environments: Path) -> None:
    """Keep what is not kept yet, of those releases that are whole."""
    for manifest in sorted(app.glob("releases/[!.]*/manifest.json")):
        told, final = json.loads(manifest.read_text()), app / "sources" / manifest.parent.name
        lock = environments / told["environment"] / "requirements.lock"
        code = archive(manifest.parent / "lib")
        if final.exists() or not lock.is_file() or hashlib.sha256(code).hexdigest() != told["sha256"]:
            continue
        half = final.with_name(f".{final.name}.new")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        (half / "training.zip").write_bytes(code)
        (half / "requirements.lock").write_bytes(lock.read_bytes())
        (half / "manifest.json").write_bytes(manifest.read_bytes())
        half.rename(final)


def archive(lib: Path) -> bytes:
    """The package `training` below a release's lib as the file that it was unpacked from."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as made:
        for file in sorted((lib / "training").rglob("*")):
            if file.suffix in KINDS and file.is_file():
                made.writestr(zipfile.ZipInfo(file.relative_to(lib).as_posix(), EPOCH), file.read_bytes())
    return packed.getvalue()


def main() -> None:
    """Keep what the command line names."""
    keep(Path(sys.argv[1]), Path(sys.argv[2]))
