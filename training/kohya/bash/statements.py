"""The statements of bash scripts, as far as scripts that start a training need them."""

from collections.abc import Iterator
from dataclasses import dataclass

from training.kohya.bash.words import Word


@dataclass(frozen=True)
class Assignment:
    """`name=value`, `name+=value`, `name=(words)`."""

    name: str
    append: bool
    value: Word | tuple[Word, ...]


@dataclass(frozen=True)
class Command:
    """A simple command; one without words only assigns."""

    line: int
    assignments: tuple[Assignment, ...]
    words: tuple[Word, ...]

    @property
    def source(self) -> str:
        """Its words as they are written."""
        return " ".join(word.source for word in self.words)


@dataclass(frozen=True)
class If:
    """Conditions, each with its block; `otherwise` is the else block."""

    branches: tuple[tuple["Block", "Block"], ...]
    otherwise: "Block"


@dataclass(frozen=True)
class Chain:
    """Commands joined by &&, || or |."""

    first: "Statement"
    rest: tuple[tuple[str, "Statement"], ...]


@dataclass(frozen=True)
class Not:
    """Commands after `!`, which turns their result round."""

    of: "Statement"


@dataclass(frozen=True)
class UnsupportedBlock:
    """A loop, case, function or subshell, which is not evaluated."""

    line: int
    what: str


Statement = Command | If | Chain | Not | UnsupportedBlock
Block = tuple[Statement, ...]


def commands(block: Block) -> Iterator[Command]:
    """All simple commands in a block, including conditional ones."""
    for statement in block:
        if isinstance(statement, Command):
            yield statement
        elif isinstance(statement, Chain):
            yield from commands((statement.first, *(following for _, following in statement.rest)))
        elif isinstance(statement, Not):
            yield from commands((statement.of,))
        elif isinstance(statement, If):
            for condition, body in statement.branches:
                yield from commands((*condition, *body))
            yield from commands(statement.otherwise)
