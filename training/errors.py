"""Errors that speak to a person; each maps to an exit code."""

from collections.abc import Sequence


class TrainingError(Exception):
    """The run failed; the text says what, where, and what to do next. Exit code 1."""

    exit_code = 1


class InputError(TrainingError):
    """Config, pictures or model that a person gave are wrong: one sentence a problem. Exit code 2."""

    exit_code = 2

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))
