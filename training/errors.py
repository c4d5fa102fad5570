"""Errors with a message for the user and an exit code."""

import re
from collections.abc import Iterable, Sequence
from datetime import date, time
from pathlib import Path

from training.terminal import visible_line

_LONG = re.compile(r"\S{400,}")


class TrainingError(Exception):
    """The run failed; the message says what, where, and what to do next. Exit code 1."""

    exit_code = 1


class InputError(TrainingError):
    """Wrong config, pictures or model: one sentence per problem. Exit code 2."""

    exit_code = 2

    def __init__(self, problems: str | Sequence[str]) -> None:
        given = (problems,) if isinstance(problems, str) else problems
        self.problems = tuple(map(one_line, given))
        super().__init__("\n".join(self.problems))


class SettingsError(InputError):
    """Wrong settings in a config.

    + settings: for each, its dotted key in our words (empty for what concerns several), and what is wrong
    """

    def __init__(self, file: Path, settings: Iterable[tuple[str, str]]) -> None:
        self.settings = [(one_line(key), one_line(says)) for key, says in settings]
        super().__init__([": ".join(filter(None, (str(file), *each))) for each in self.settings])


def quoted(value: object) -> str:
    """A value of a TOML file for a sentence: text in quotes, dates, true and false as they are written there."""
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, date | time) else repr(value)


def reason(error: Exception) -> str:
    """What went wrong with a file, without its name: the sentence begins with that."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def one_line(sentence: str) -> str:
    """A sentence that quotes input, as one line: unprintable characters are escaped, very long words are cut."""
    return _LONG.sub(lambda match: f"{match[0][:80]}...", visible_line(sentence))
