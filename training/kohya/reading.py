"""One kohya file on its way into our config: every key is taken once, and the report says what became of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.kohya import values
from training.kohya.honoured import PLACES, WITHOUT
from training.kohya.report import Honoured, NotHonoured, Report
from training.kohya.unhonoured import REASONS
from training.kohya.values import Convert
from training.usable_path import usable_path

PATHS = frozenset({"model.checkpoint", "model.vae", "data.folder", "data.regularisation", "network.start_from"})
"""Our settings that are paths; made absolute, since kohya's count from the working directory."""


DEFAULT = "sd-scripts' default"
"""Origin of what no key of the file says."""


@dataclass(frozen=True)
class Given:
    """A value as the file gives it, under the name the file uses."""

    value: Any
    name: str


class Reading:
    """The keys of a file, our tables as they grow, and what is wrong with the file."""

    def __init__(self, file: Path, base: Path, given: Mapping[str, Given], *, preset: bool = False) -> None:
        self.file, self.base, self.preset = file, base, preset
        self.given = dict(given)
        self.report = Report(file)
        self.problems: list[str] = []
        self.origins: dict[str, str] = {}
        """By which key of the file each of our settings was set."""
        self.raw: dict[str, Any] = {}
        self._taken: set[str] = set()
        if not preset:
            for path, value in WITHOUT.items():
                self.set(path, value)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key; `default` if it is missing."""
        found = self.given.get(key)
        return default if found is None else found.value

    def value(self, key: str, convert: Convert) -> Any:
        """The converted value of a key. Raises ValueError that names it."""
        given = self.given[key]
        try:
            return convert(given.value)
        except ValueError as error:
            raise ValueError(f"{given.name}: {error} (is {given.value!r})") from error

    def sound(self, key: str, convert: Convert) -> Any:
        """The converted value of a key; None if it is missing or wrong, which is said where its place is taken."""
        try:
            return None if self.get(key) in (None, "") else convert(self.get(key))
        except ValueError:
            return None

    def has(self, key: str) -> bool:
        """Whether the file gives a key that no step has taken yet."""
        return key in self.given and key not in self._taken

    def set(self, path: str, value: Any, origin: str = "") -> None:
        """Set one of our settings; `origin` says what of the file, or of sd-scripts, made it so."""
        if origin:
            self.origins[path] = origin
        *tables, last = path.split(".")
        table = self.raw
        for name in tables:
            table = table.setdefault(name, {})
        table[last] = value

    def take(self, key: str) -> None:
        """Mark a key as dealt with."""
        self._taken.add(key)

    def absolute(self, name: str, text: Any) -> str:
        """A path of the file as one of this machine. A path of another system is a problem."""
        path = str(text)
        if re.match(r"[A-Za-z]:[\\/]|\\\\", path):
            self.problems.append(f"{self.file}: {name}: {path!r} is a Windows path; write its path on this machine")
            return path
        try:
            found = self.base / usable_path(path)
        except ValueError as error:
            self.problems.append(f"{self.file}: {name}: {error}")
            return path
        if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", path) and not found.exists() and not Path(path).suffix:
            self.report.notes.append(
                f"{name}: {path} is read as a path; a model of Hugging Face's hub must be named by its file"
            )
        return str(found)

    def sides(self, name: str, value: Any) -> Any:
        """A resolution in whole latents."""
        cut = values.sides(value)
        if cut != value:
            self.report.notes.append(f"{name}: {value} is cut to multiples of 8, as the VAE does")
        return cut

    def entry(self, name: str, value: Any, path: str, ours: Any) -> None:
        """Our `path` becomes `ours` (None: stays at its default), because the file says `name` = `value`."""
        if ours is not None and path in PATHS:
            ours = self.absolute(name, ours)
        if ours is not None:
            self.set(path, ours, name)
        self.report.honoured.append(Honoured(name, value, path, ours))

    def mention(self, name: str, value: Any, path: str) -> None:
        """What the file says under `name` has its place below `path`, which is set elsewhere."""
        self.origins[path] = name
        self.report.honoured.append(Honoured(name, value, path, value))

    def honour(self, key: str, path: str, ours: Any) -> None:
        """The key has its place: `path` becomes `ours` (None: stays at its default)."""
        self.take(key)
        self.entry(self.given[key].name, self.given[key].value, path, ours)

    def lose(self, name: str, value: Any, reason: str) -> None:
        """What the file says under `name` has no place; `reason` says why."""
        self.report.not_honoured.append(NotHonoured(name, value, reason))

    def drop(self, key: str, reason: str) -> None:
        """The key has no place; `reason` says why."""
        self.take(key)
        self.lose(self.given[key].name, self.given[key].value, reason)

    def refuse(self, key: str, sentence: str) -> None:
        """The key makes it impossible to train what the file asks for."""
        self.take(key)
        self.problems.append(f"{self.file}: {self.given[key].name}: {sentence}")

    def place(self, key: str) -> None:
        """Take a key by the table of places."""
        place = PLACES[key]
        if self.get(key) in (None, ""):
            self.honour(key, place.path, None)
            return
        try:
            self.honour(key, place.path, self.value(key, place.convert))
        except ValueError as error:
            self.take(key)
            self.problems.append(f"{self.file}: {error}")

    def rest(self) -> list[str]:
        """Take all keys that no step took, by the tables; returns the names nobody knows."""
        unknown = []
        for key in self.given:
            if not self.has(key):
                continue
            if key in PLACES:
                self.place(key)
            elif key in REASONS:
                self.drop(key, REASONS[key])
            else:
                unknown.append(key)
        return unknown
