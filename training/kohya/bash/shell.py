"""Word expansion as in bash: variables, arrays, quotes, word splitting."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from training.errors import InputError
from training.kohya.bash.words import Text, Unsupported, Variable, Word

OF_BASH = frozenset(
    [
        "BASH",
        "BASHPID",
        "BASH_SOURCE",
        "BASH_VERSION",
        "COLUMNS",
        "EPOCHREALTIME",
        "EPOCHSECONDS",
        "EUID",
        "FUNCNAME",
        "GROUPS",
        "HOSTNAME",
        "HOSTTYPE",
        "LINENO",
        "LINES",
        "MACHTYPE",
        "OLDPWD",
        "OSTYPE",
        "PIPESTATUS",
        "PPID",
        "RANDOM",
        "SECONDS",
        "SHLVL",
        "SRANDOM",
        "UID",
        "_",
    ]
)
"""Variables that bash sets itself."""

PATTERN = re.compile(r"[*?]|\{[^{}]*(?:,|\.\.)[^{}]*\}")
"""Patterns and brace expansions, which bash would replace by file names or several words."""

FROM_OUTSIDE = ("HOME", "USER", "PWD", "PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
"""Variables that a script may read without setting them; they do not affect a training."""


@dataclass(frozen=True)
class Field:
    """A word after expansion, and the variables that it came from."""

    text: str
    names: frozenset[str] = frozenset()


@dataclass
class Shell:
    """The variables of a script, and words expanded by them."""

    file: Path
    folder: Path
    """Relative paths start from here."""
    variables: dict[str, list[Field]] = field(default_factory=dict)
    arrays: set[str] = field(default_factory=set)
    readonly: set[str] = field(default_factory=set)

    def refuse(self, line: int, problem: str) -> InputError:
        """The error for a line that cannot be evaluated."""
        return InputError(f"{self.file}: line {line}: {problem}")

    def _values(self, part: Variable) -> list[Field]:
        """The value of a variable, or the items of an array."""
        found = self.variables.get(part.name)
        if part.name == "PWD" and found is None:
            return [Field(str(self.folder))]
        if found is None and (part.items or part.name in ("@", "*")):
            return []
        if found is None and part.name in FROM_OUTSIDE:
            return [Field(os.environ.get(part.name, ""))]
        if found == []:  # an array without items: its first item is unset
            found = None if not part.items else found
        if part.default is not None and (found is None or not (found[0].text or part.empty_counts)):
            return [Field(part.default, frozenset((part.name,)) if found is not None else frozenset())]
        if found is None:
            return [Field("", frozenset((part.name,)))]
        items = found if part.items else found[:1]
        alone = part.name not in self.arrays
        return [Field(item.text, frozenset((part.name,)) if alone else item.names) for item in items]

    def whole(self, word: Word) -> Field:
        """A word without splitting: the value of an assignment, or an operand of a test."""
        texts, names = [], set[str]()
        for part in word.parts:
            found = self._expanded(part, word)
            texts.append(" ".join(value.text for value in found))
            names |= {name for value in found for name in value.names}
        return Field("".join(texts), frozenset(names))

    def _expanded(self, part: Text | Variable | Unsupported, word: Word) -> list[Field]:
        if isinstance(part, Text):
            return [Field(part.text)]
        if isinstance(part, Unsupported):
            raise self.refuse(word.line, f"{part.text} is computed by the shell; write its value into the script")
        if part.name in OF_BASH and part.name not in self.variables:
            raise self.refuse(word.line, f"${part.name}: is set by bash itself; write its value into the script")
        found = self._values(part)
        if part.joined:
            return [Field(" ".join(value.text for value in found), frozenset(used_names(found)))]
        return found

    def split(self, word: Word, *, strict: bool = True) -> list[Field]:
        """The words that one word expands to: unquoted values are split at blanks, arrays at their items."""
        fields: list[Field] = []
        open_field: Field | None = None
        for part in word.parts:
            if isinstance(part, Unsupported) and not strict:
                continue
            if isinstance(part, Text) and not part.quoted and strict and PATTERN.search(part.text):
                raise self.refuse(
                    word.line,
                    f"{word.source}: patterns and lists in braces are not followed; write what they stand for",
                )
            quoted = isinstance(part, Text) or (isinstance(part, Variable) and part.quoted)
            values = self._expanded(part, word)
            vanishes = isinstance(part, Variable) and part.quoted and part.items and not part.joined and not values
            if vanishes and all(other == Text("", quoted=True) for other in word.parts if other is not part):
                return []
            for number, value in enumerate(values):
                if number and open_field is not None:
                    fields.append(open_field)
                    open_field = None
                pieces = [value.text] if quoted else _pieces(value.text)
                for place, piece in enumerate(pieces):
                    if place and open_field is not None:
                        fields.append(open_field)
                        open_field = None
                    if piece or quoted:
                        before = open_field or Field("")
                        open_field = Field(before.text + piece, before.names | value.names)
                if not pieces and open_field is not None:  # an empty value still counts as used
                    open_field = Field(open_field.text, open_field.names | value.names)
        return [*fields, *([open_field] if open_field is not None else [])]


def _pieces(text: str) -> list[str]:
    """An unquoted value split at blanks; an empty first or last piece stands for a blank at that end."""
    if not text.strip():
        return ["", ""] if text else []
    return [*([""] if text[0].isspace() else []), *text.split(), *([""] if text[-1].isspace() else [])]


def used_names(values: Iterable[Field]) -> set[str]:
    """The variables that any of the values come from."""
    return {name for value in values for name in value.names}
