"""Writes captions beside pictures: in batches, resumable, without replacing captions edited by hand."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from training.captioning.captioner import Captioner, load_on_white
from training.errors import InputError
from training.picture_files import is_picture
from training.run_folder import write_text
from training.sections.data import PICTURE_ENDINGS

RECORD = ".captions.json"
"""In each folder: the captions written by this program, so that those edited by hand are recognised."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class CaptionFormat:
    """Trigger word, prefix and suffix of every caption."""

    trigger: str = ""
    prefix: str = ""
    suffix: str = ""

    def format_caption(self, text: str) -> str:
        """Trigger word, prefix, text and suffix, separated by commas."""
        return ", ".join(
            part.strip(" ,") for part in (self.trigger, self.prefix, text, self.suffix) if part.strip(" ,")
        )


@dataclass
class Tally:
    """Counts of pictures by what happened to them."""

    written: int = 0
    kept: int = 0
    """Captions written or edited by hand."""
    done: int = 0
    """Written by an earlier run with the same settings."""
    failed: int = 0


def pictures_below(folder: Path) -> list[Path]:
    """All pictures in `folder` and the folders below it, hidden ones left out.

    Raises InputError if it is no folder or holds none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = [
        file
        for file in sorted(folder.rglob("*"))
        if is_picture(file)
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
    if not found:
        raise InputError(f"{folder}: holds no picture ({', '.join(sorted(PICTURE_ENDINGS))})")
    return found


class CaptionWriter:
    """Writes captions and records them."""

    def __init__(self, frame: CaptionFormat, extension: str = ".txt", overwrite: bool = False) -> None:
        """`overwrite` also replaces captions edited by hand."""
        self.frame, self.extension, self.overwrite = frame, extension, overwrite

    def write(self, pictures: Sequence[Path], captioner: Captioner, batch: int, say: Say) -> Tally:
        """Caption `pictures`, `batch` at a time; an interrupt loses at most one batch."""
        tally, work = Tally(), []
        how = f"{captioner.identity} {self.frame}"
        for picture in pictures:
            state = self._state(picture, how)
            if state == "missing":
                work.append(picture)
            elif state == "ours":
                tally.done += 1
            else:
                tally.kept += 1
        for paths, images in _batches(work, batch, tally, say):
            self._put(dict(zip(paths, captioner.describe(images), strict=True)), how)
            tally.written += len(paths)
            say(f"{tally.written + tally.failed}/{len(work)} {paths[-1].name}")
        return tally

    def _state(self, picture: Path, how: str) -> str:
        """ "missing" (or to be replaced), "ours" or "hand"."""
        file = picture.with_suffix(self.extension)
        try:
            text = file.read_bytes()
        except FileNotFoundError:
            return "missing"
        entry = _record(picture.parent).get(file.name)
        if entry is None or entry["sha256"] != hashlib.sha256(text).hexdigest():
            return "missing" if self.overwrite or not text.strip() else "hand"
        return "ours" if entry["how"] == how else "missing"

    def _put(self, described: Mapping[Path, str], how: str) -> None:
        """Write the captions of one batch."""
        texts = {
            path.with_suffix(self.extension): f"{self.frame.format_caption(text)}\n" for path, text in described.items()
        }
        # The record first: a caption without its entry would count as written by hand.
        for folder in {file.parent for file in texts}:
            record = _record(folder)
            for file in (file for file in texts if file.parent == folder):
                record[file.name] = {"sha256": hashlib.sha256(texts[file].encode()).hexdigest(), "how": how}
            write_text(folder / RECORD, json.dumps(record, indent=1, sort_keys=True))
        for file, text in texts.items():
            write_text(file, text)


def _batches(work: Sequence[Path], size: int, tally: Tally, say: Say) -> Iterator[tuple[list[Path], list[Image.Image]]]:
    """Readable pictures in batches; unreadable ones are reported and counted."""
    paths: list[Path] = []
    images: list[Image.Image] = []
    for path in work:
        try:
            images.append(load_on_white(path))
            paths.append(path)
        except InputError as error:
            tally.failed += 1
            say(f"skipped: {error}")
        if len(paths) == size:
            yield paths, images
            paths, images = [], []
    if paths:
        yield paths, images


def _record(folder: Path) -> dict[str, dict[str, str]]:
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    entries = found.items() if isinstance(found, dict) else ()
    return {name: entry for name, entry in entries if isinstance(entry, dict) and {"sha256", "how"} <= entry.keys()}
