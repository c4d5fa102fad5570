"""The report on every key of a kohya file."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from training.config import Config, Settings
from training.kohya.values import is_off

SECRETS = frozenset({"wandb_api_key", "huggingface_token"})
"""Keys whose value is never shown."""


@dataclass(frozen=True)
class Honoured:
    """A key with an equivalent in our config."""

    key: str
    value: Any
    path: str
    """Dotted path of our setting."""
    ours: Any
    """What the run does: the setting's value, None where it is not set."""

    def __str__(self) -> str:
        return f"{self.key} = {self.value!r} -> {self.path} = {_shown(self.ours, self.path)}"


@dataclass(frozen=True)
class NotHonoured:
    """A key without an equivalent, and why."""

    key: str
    value: Any
    reason: str

    @property
    def lost(self) -> bool:
        """Whether the key was set, so that something is lost."""
        return not is_off(self.value)

    def __str__(self) -> str:
        shown = "(hidden)" if self.lost and self.key in SECRETS else repr(self.value)
        return f"{self.key} = {shown}: {'' if self.lost else 'off here; '}{self.reason}"


@dataclass
class Report:
    """The report on a conversion: it names every key of the file."""

    file: Path
    honoured: list[Honoured] = field(default_factory=list)
    not_honoured: list[NotHonoured] = field(default_factory=list)
    deciding: list[tuple[str, str]] = field(default_factory=list)
    """Variables of a script that only decide which options it passes, with their values."""
    notes: list[str] = field(default_factory=list)

    @property
    def keys(self) -> set[str]:
        """Every key that the report names."""
        named = {entry.key for entry in self.honoured} | {entry.key for entry in self.not_honoured}
        return named | {name for name, _ in self.deciding}

    def resolve(self, config: Config) -> None:
        """Set the honoured keys' values to those of the resulting config."""
        self.honoured = [replace(entry, ours=_at(config, entry.path.split("."))) for entry in self.honoured]

    def lines(self) -> list[str]:
        """The report as text, lost keys first."""
        lost = [entry for entry in self.not_honoured if entry.lost]
        off = [entry for entry in self.not_honoured if not entry.lost]
        honoured = len({entry.key for entry in self.honoured})  # one key can decide several settings
        found = [f"{self.file}: {honoured} keys honoured, {len(self.not_honoured)} not ({len(lost)} set)"]
        groups: tuple[tuple[str, list[NotHonoured]], ...] = (
            ("Not honoured, because", lost),
            ("Not honoured, but off", off),
        )
        for title, entries in groups:
            found += [f"{title}:", *(f"  {entry}" for entry in entries)] if entries else []
        if self.deciding:
            found += ["Only decide which options the script passes:"]
            found += [f"  {name} = {value!r}" for name, value in self.deciding]
        found += ["Note:", *(f"  {note}" for note in self.notes)] if self.notes else []
        found += ["Honoured:", *(f"  {entry}" for entry in self.honoured)] if self.honoured else []
        return found

    def __str__(self) -> str:
        return "\n".join(self.lines())


def _at(value: Any, path: list[str]) -> Any:
    """The setting at `path`; in a list of tables all their distinct values."""
    for at, name in enumerate(path):
        if name.isdigit() and isinstance(value, tuple):
            value = value[int(name)]
        elif isinstance(value, tuple) and all(isinstance(item, Settings) for item in value):
            found = [_at(item, path[at:]) for item in value]
            distinct = [item for place, item in enumerate(found) if item not in found[:place]]
            return distinct[0] if len(distinct) == 1 else _Several(distinct)
        else:
            value = value.get(name) if isinstance(value, dict) else getattr(value, name)
    return value


class _Several(list[Any]):
    """Values of one setting in several tables."""


def _shown(ours: Any, path: str) -> str:
    if isinstance(ours, _Several):
        return " or ".join(_shown(item, path) for item in ours)
    if isinstance(ours, Settings):
        return f"as in [{path}]"
    if isinstance(ours, tuple) and ours and isinstance(ours[0], Settings):
        return f"{len(ours)} table(s) [[{path}]]"
    if isinstance(ours, Path):
        return repr(str(ours))
    return "not set" if ours is None else repr(ours)
