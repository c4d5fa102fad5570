"""Show the fleet's models and the datasets of its training runs to lora-scripts, under names its GUI accepts.

Models get a further name (a hard link): the GUI resolves links, and refuses a file of the store for lack of a suffix.
Datasets get symbolic links. Whatever somebody else put into the folders is left alone.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
import time
from pathlib import Path

SUFFIXES = (".safetensors", ".ckpt", ".pt")
"""Those that the GUI lists."""
UNFINISHED = ".new"
"""Name of a link before it has its own, which may be as long as a file system allows."""
DATASET = "inputs/data.folder"
"""The folder of a run that holds its pictures in folders N_name, as kohya's trainers read them."""


def wanted_models(folders: list[Path], store: Path) -> dict[str, Path]:
    """Name -> file of the store, for each link of these folders that leads into the store and nowhere else."""
    found = {}
    for folder in folders:
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            blob = Path(os.path.realpath(str(entry)))
            # The folders belong to the WebUI's user: a link of its making must not open a file of root's to others.
            if entry.is_symlink() and entry.suffix in SUFFIXES and store / "sha256" in blob.parents and blob.is_file():
                found[entry.name] = blob
    return found


def link_models(wanted: dict[str, Path], shown: Path) -> list[str]:
    """Bring the folder `shown`, which only root may write, to `wanted`; one sentence for each change."""
    changes = []
    for entry in sorted(shown.iterdir()):
        if entry.name not in wanted:
            entry.unlink()
            changes.append(f"{entry.name}: removed")
    for name, blob in wanted.items():
        target = shown / name
        if target.exists() and target.samefile(blob):
            continue
        new = shown / UNFINISHED
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        os.link(str(blob), str(new))
        new.replace(target)
        changes.append(f"{name}: shown")
    return changes


def link_datasets(runs: Path, train: Path) -> list[str]:
    """Bring the links of `train` that lead into `runs` to the datasets there; one sentence for each change."""
    found = {path.parent.parent.name: str(path) for path in sorted(runs.glob(f"[!.]*/{DATASET}")) if path.is_dir()}
    changes = []
    # The folder belongs to the user that trains, who may put a link in its place: it is opened once, and no link.
    folder = os.open(str(train), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        with os.scandir(folder) as entries:
            there = {entry.name for entry in entries}
        for name in sorted(there):
            link = stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode) and os.readlink(name, dir_fd=folder)
            if link and runs in Path(link).parents and link != found.get(name):
                os.unlink(name, dir_fd=folder)
                there.discard(name)
                changes.append(f"{name}: removed")
        for name in sorted(found.keys() - there):
            os.symlink(found[name], name, dir_fd=folder)
            changes.append(f"{name}: shown")
    finally:
        os.close(folder)
    return changes


def main() -> None:
    """Bring both folders up to date, and say what changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, action="append", required=True, help="folder with links to models")
    parser.add_argument("--store", type=Path, required=True, help="the store that they lead into")
    parser.add_argument("--sd-models", type=Path, required=True, help="folder that the GUI lists models of")
    parser.add_argument("--runs", type=Path, required=True, help="folder of training runs")
    parser.add_argument("--train", type=Path, required=True, help="folder that the GUI lists datasets of")
    parser.add_argument("--every", type=float, default=0, metavar="SECONDS", help="again and again, without end")
    options = parser.parse_args()
    store = Path(os.path.realpath(str(options.store)))
    while True:
        changes = link_models(wanted_models(options.models, store), options.sd_models)
        for line in [*changes, *link_datasets(options.runs, options.train)]:
            print(ascii(line)[1:-1], flush=True)  # names are whatever the WebUI's user chose
        if not options.every:
            return
        time.sleep(options.every)
