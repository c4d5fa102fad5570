"""Errors for the user, with their exit codes."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.errors import one_line

OK, FAILED, USAGE, DRIFT = 0, 1, 2, 3
"""Exit codes: done; failed; wrong command line or file; a difference was found."""


@dataclass(frozen=True)
class Problem:
    """One mistake in a file that the user wrote."""

    key: str
    """Dotted path of the setting, e.g. hosts.gpu-1.webui.port."""
    message: str
    """What is wrong and what is allowed, one sentence."""

    def __str__(self) -> str:
        return one_line(f"{self.key}: {self.message}" if self.key else self.message)


class SdfleetError(Exception):
    """Something failed; the text says what, where, and what to do next. Exit code 1."""

    exit_code = FAILED


class ConfigError(SdfleetError):
    """A file or option is wrong; holds all problems, not only the first. Exit code 2."""

    exit_code = USAGE

    def __init__(self, where: str, problems: Sequence[Problem]) -> None:
        self.where = where
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{where}: {problem}" for problem in self.problems))
