"""The conversion of one kohya file: every key is taken once and reported."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.errors import quoted
from training.kohya import values
from training.kohya.honoured import EQUIVALENTS, KOHYA_DEFAULTS
from training.kohya.report import Honoured, NotHonoured, Report
from training.kohya.unhonoured import REASONS
from training.kohya.values import Convert
from training.usable_path import usable_path

PATHS = frozenset({"model.checkpoint", "model.vae", "data.folder", "data.regularisation", "network.start_from"})
"""Our settings that are paths; made absolute, since kohya's start from the working directory."""


DEFAULT = "sd-scripts' default"
"""Origin of settings that no key of the file sets."""


@dataclass(frozen=True)
class Entry:
    """A value of the file, with its name there."""

    value: Any
    name: str


class Conversion:
    """The keys of a file, our settings so far, and the problems found.

    Each key is honoured, dropped or refused once, and is taken then; so is each entry inside a key's value or a table.
    """

    def __init__(
        self, file: Path, base: Path, entries: Mapping[str, Entry], *, preset: bool = False, program: str = ""
    ) -> None:
        self.file, self.base, self.preset = file, base, preset
        self.program = program
        """The program of sd-scripts that a script runs; empty for other files."""
        self.entries = dict(entries)
        self.report = Report(file)
        self.problems: list[str] = []
        self.origins: dict[str, str] = {}
        """The key of the file that set each of our settings."""
        self.settings: dict[str, Any] = {}
        self._taken: set[str] = set()
        if not preset:
            for path, value in KOHYA_DEFAULTS.items():
                self.set(path, value)

    def problem(self, sentence: str) -> None:
        self.problems.append(f"{self.file}: {sentence}")

    def note(self, sentence: str) -> None:
        """Add a note, unless it is there: several tables of a file can lead to the same one."""
        if sentence not in self.report.notes:
            self.report.notes.append(sentence)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key; `default` if it is missing."""
        found = self.entries.get(key)
        return default if found is None else found.value

    def converted(self, key: str, convert: Convert) -> Any:
        """The converted value of a key. Raises ValueError that names it."""
        return self.converted_entry(self.entries[key], convert)

    def converted_entry(self, entry: Entry, convert: Convert) -> Any:
        """The converted value of an entry. Raises ValueError that names it."""
        try:
            return convert(entry.value)
        except ValueError as error:
            raise ValueError(f"{entry.name}: {error} (is {quoted(entry.value)})") from error

    def converted_or_none(self, key: str, convert: Convert) -> Any:
        """The converted value of a key; None if it is missing or invalid, which is reported when the key is taken."""
        try:
            return None if self.get(key) in (None, "") else convert(self.get(key))
        except ValueError:
            return None

    def remains(self, key: str) -> bool:
        """Whether the file has a key that no step has taken yet."""
        return key in self.entries and key not in self._taken

    def set(self, path: str, value: Any, origin: str = "") -> None:
        """Set one of our settings; `origin` is the key or default that it comes from."""
        if origin:
            self.origins[path] = origin
        *tables, last = path.split(".")
        table = self.settings
        for name in tables:
            table = table.setdefault(name, {})
        table[last] = value

    def take(self, key: str) -> None:
        """Mark a key as taken."""
        self._taken.add(key)

    def absolute(self, name: str, text: Any) -> str:
        """A path of the file as an absolute path; a Windows path is a problem."""
        path = str(text)
        try:
            found = self.base / usable_path(path)
        except ValueError as error:
            self.problem(f"{name}: {error}")
            return path
        if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", path) and not found.exists() and not Path(path).suffix:
            self.note(f"{name}: {path} is read as a path; a model of Hugging Face's hub must be named by its file")
        return str(found)

    def sides(self, name: str, value: Any) -> Any:
        """A resolution in whole latents."""
        cut = values.sides(value)
        if cut != value:
            self.note(
                f"{name}: {value} is cut to multiples of 8, as the VAE does; sd-scripts' buckets keep the area of the "
                "uncut size, so some are a step larger there"
            )
        return cut

    def honour(self, key: str, path: str, ours: Any) -> None:
        """Take a key and set our `path` to `ours` (None: keep the default)."""
        self.take(key)
        self.honour_entry(self.entries[key], path, ours)

    def drop(self, key: str, reason: str) -> None:
        """Take a key and report it as not honoured."""
        self.take(key)
        self.drop_entry(self.entries[key], reason)

    def refuse(self, key: str, sentence: str) -> None:
        """Take a key and report that its value prevents the training."""
        self.take(key)
        self.problem(f"{self.entries[key].name}: {sentence}")

    def honour_entry(self, entry: Entry, path: str, ours: Any) -> None:
        """Set our `path` to `ours` (None: keep the default) because of an entry."""
        if ours is not None and path in PATHS:
            ours = self.absolute(entry.name, ours)
        if ours is not None:
            self.set(path, ours, entry.name)
        self.report.honoured.append(Honoured(entry.name, entry.value, path, ours))

    def honour_elsewhere(self, entry: Entry, path: str) -> None:
        """Report an entry as honoured by `path`, which is set elsewhere."""
        self.origins[path] = entry.name
        self.report.honoured.append(Honoured(entry.name, entry.value, path, entry.value))

    def drop_entry(self, entry: Entry, reason: str) -> None:
        """Report an entry as not honoured."""
        self.report.not_honoured.append(NotHonoured(entry.name, entry.value, reason))

    def _take_by_table(self, key: str) -> None:
        """Take a key that has an equivalent."""
        ours = EQUIVALENTS[key]
        if self.get(key) in (None, ""):
            self.honour(key, ours.path, None)
            return
        try:
            self.honour(key, ours.path, self.converted(key, ours.convert))
        except ValueError as error:
            self.take(key)
            self.problem(f"{error}")

    def take_remaining(self) -> list[str]:
        """Take the remaining keys by the tables; returns the unknown ones."""
        unknown = []
        for key in self.entries:
            if not self.remains(key):
                continue
            if key in EQUIVALENTS:
                self._take_by_table(key)
            elif key in REASONS:
                self.drop(key, REASONS[key])
            else:
                unknown.append(key)
        return unknown
