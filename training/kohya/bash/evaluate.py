"""Which options a train.sh passes to sd-scripts: its assignments and conditions are evaluated, no program is run.

The part of bash that such scripts use is read as bash reads it, word splitting and arrays included. Anything else that
could change an option ends the reading with its line: nothing is guessed.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from training.errors import InputError
from training.kohya.bash import conditions
from training.kohya.bash.syntax import DECLARATIONS, Assignment, Block, Chain, Command, If, Statement, parse
from training.kohya.bash.words import ShellSyntaxError, Text, Unread, Variable, Word
from training.kohya.values import did_you_mean

CHANGE_THE_SHELL = frozenset(
    ("eval", "read", "exec", "getopts", "mapfile", "readarray", "let", "alias", "trap", "shift", "return")
)
"""Commands of bash itself that could change a variable, or what follows."""

ONLY_SHOW = frozenset(("echo", "printf", "cat", "ls", "cp", "mv", "rm", "chmod", "grep", "sed", "tee"))
"""Programs that may name a program of sd-scripts without starting it."""

SCRIPTS = ("train_network.py", "sdxl_train_network.py")
"""The programs of sd-scripts that train a LoRA for the families here."""

FROM_OUTSIDE = ("HOME", "USER", "PWD", "PATH", "LD_LIBRARY_PATH", "PYTHONPATH")
"""Variables that a script may expect without setting them; their values say nothing about a training."""


@dataclass(frozen=True)
class Value:
    """A word after expansion, and the variables that it came from."""

    text: str
    names: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Launch:
    """The command that trains: accelerate or python up to the program of sd-scripts, that program, its arguments."""

    line: int
    launcher: tuple[Value, ...]
    program: str
    arguments: tuple[Value, ...]


@dataclass
class Script:
    """What a script does, as far as a training is concerned."""

    launch: Launch
    variables: dict[str, str]
    tested: set[str]
    """Variables that conditions look at."""
    unset: set[str]
    """Variables that are looked at but never set."""
    folder: Path
    """From where relative paths count."""
    notes: list[str]


def follow(file: Path, text: str) -> Script:
    """Follow a script to its launch command. Raises InputError that names the line."""
    try:
        return _Shell(file).follow(parse(text))
    except ShellSyntaxError as error:
        raise InputError(f"{file}: line {error.line}: {error}") from error


@dataclass
class _Shell:
    file: Path
    variables: dict[str, list[Value]] = field(default_factory=dict)
    arrays: set[str] = field(default_factory=set)
    tested: set[str] = field(default_factory=set)
    folder: Path = field(default_factory=Path)
    notes: list[str] = field(default_factory=list)
    launch: Launch | None = None
    left: bool = False
    """Whether the script has ended itself."""

    def follow(self, script: Block) -> Script:
        self.folder = self.file.resolve().parent
        self._block(script)
        if self.launch is None:
            raise InputError(
                f"{self.file}: no launch command of {' or '.join(SCRIPTS)} is in it; is it lora-scripts' train.sh?"
            )
        scalars = {name: items[0].text for name, items in self.variables.items() if name not in self.arrays}
        unset = self.tested - self.variables.keys() - set(FROM_OUTSIDE)
        return Script(self.launch, scalars, self.tested, unset, self.folder, self.notes)

    def _refuse(self, line: int, problem: str) -> InputError:
        return InputError(f"{self.file}: line {line}: {problem}")

    def _block(self, block: Block) -> bool:
        """Run statements; returns whether the last one succeeded."""
        success = True
        for statement in block:
            if not self.left:
                success = self._statement(statement)
        return success

    def _statement(self, statement: Statement) -> bool:
        if isinstance(statement, Command):
            return self._command(statement)
        if isinstance(statement, Chain):
            success = self._statement(statement.first)
            for joint, following in statement.rest:
                if success == (joint == "&&"):
                    success = self._statement(following)
            return success
        if isinstance(statement, If):
            for condition, body in statement.branches:
                if self._block(condition):
                    return self._block(body)
            return self._block(statement.otherwise)
        if self.launch is None:
            raise self._refuse(
                statement.line, f"{statement.what}: loops, functions and subshells are not followed; write what they do"
            )
        return True

    def _command(self, command: Command) -> bool:
        name = command.words[0].bare if command.words else None
        if not command.words or name in DECLARATIONS:
            for assignment in command.assignments:
                self._assign(assignment)
            return True
        if name == "!":
            return not self._command(Command(command.line, (), command.words[1:]))
        if name in ("[[", "[", "test"):
            return self._test(command.words, command.line)
        if name == "exit":
            self.left = True
            return True
        return self._program(command)

    def _assign(self, assignment: Assignment) -> None:
        name = assignment.name
        before = self.variables.get(name, []) if assignment.append else []
        if isinstance(assignment.value, tuple):
            self.arrays.add(name)
            self.variables[name] = [*before, *(value for word in assignment.value for value in self._split(word))]
        else:
            value = self._whole(assignment.value)
            first = before[0] if before else Value("")
            self.variables[name] = [Value(first.text + value.text, first.names | value.names), *before[1:]]

    def _test(self, words: Sequence[Word], line: int) -> bool:
        self.tested |= {part.name for word in words for part in word.parts if isinstance(part, Variable)}
        try:
            if words[0].bare == "[[":
                return conditions.double(words[1:-1], lambda word: self._whole(word).text)
            fields = [value.text for word in words[1:] for value in self._split(word)]
            if words[0].bare == "[":
                if fields[-1:] != ["]"]:
                    raise self._refuse(line, "[ without ]")
                fields.pop()
            return conditions.single(fields)
        except conditions.Unknown as error:
            raise self._refuse(line, str(error)) from error

    def _program(self, command: Command) -> bool:
        """A program or builtin: the training, something that leads to it, or nothing of concern."""
        line, name = command.line, command.words[0].bare
        shown = " ".join(word.source for word in command.words)
        if name == "cd" and self.launch is None:
            fields = [value.text for word in command.words[1:] for value in self._split(word)]
            self.folder = self.folder / Path(fields[-1] if fields else "~").expanduser()
            return True
        if name in ("source", ".") and not shown.rstrip("\"'").endswith("activate") and self.launch is None:
            raise self._refuse(line, f"{shown}: other scripts are not read; write into this one what they set")
        if name in CHANGE_THE_SHELL and self.launch is None:
            raise self._refuse(line, f"{shown}: is not followed here; write the values that it gives into the script")
        if name not in ONLY_SHOW and self._starts(command.words) is not None:
            self._launch(command)
        elif self.launch is None and name not in ("echo", "printf", "set", "sleep", "mkdir", "source", "."):
            self.notes.append(f"line {line}: {shown}: is not run here")
        return True

    def _starts(self, words: Sequence[Word]) -> int | None:
        """Where a command names a training program, None if it does not."""
        texts = [value.text for word in words for value in self._split(word, strict=False)]
        names = [PurePosixPath(text.replace("\\", "/")).name for text in texts]
        place = next((place for place, found in enumerate(names) if found.endswith(".py")), None)
        return place if place is not None and "train" in names[place] else None

    def _launch(self, command: Command) -> None:
        """Take the command that starts the training."""
        line = command.line
        place = self._starts(command.words) or 0
        words = [value for word in command.words for value in self._split(word)]
        program = PurePosixPath(words[place].text.replace("\\", "/")).name
        if program not in SCRIPTS:
            raise self._refuse(line, f"{program} is not supported; read are {' and '.join(SCRIPTS)}")
        if self.launch is not None:
            raise self._refuse(line, f"starts a second training (the first is in line {self.launch.line}); keep one")
        arguments = tuple(words[place + 1 :])
        for name in sorted(used_names(arguments) - self.variables.keys()):
            hint = did_you_mean(name, self.variables)
            raise self._refuse(line, f"${name} is passed on but never set in the script{hint}")
        self.launch = Launch(line, tuple(words[: place + 1]), program, arguments)

    # Expansion

    def _values(self, part: Variable) -> list[Value]:
        """What a variable holds: one value, or the items of an array."""
        found = self.variables.get(part.name)
        if found is None and (part.items or part.name in ("@", "*")):
            return []
        if found is None and part.name in FROM_OUTSIDE:
            return [Value(os.environ.get(part.name, ""))]
        if part.default is not None and (found is None or not found[0].text):
            return [Value(part.default, frozenset((part.name,)) if found is not None else frozenset())]
        if found is None:
            return [Value("", frozenset((part.name,)))]
        items = found if part.items else found[:1]
        alone = part.name not in self.arrays
        return [Value(item.text, frozenset((part.name,)) if alone else item.names) for item in items]

    def _whole(self, word: Word) -> Value:
        """A word where nothing is split: the value of an assignment, a side of a test."""
        texts, names = [], set[str]()
        for part in word.parts:
            for value in self._expanded(part, word):
                texts.append(value.text)
                names |= value.names
        return Value("".join(texts), frozenset(names))

    def _expanded(self, part: Text | Variable | Unread, word: Word) -> list[Value]:
        if isinstance(part, Text):
            return [Value(part.text)]
        if isinstance(part, Unread):
            raise self._refuse(word.line, f"{part.text} is computed by the shell; write its value into the script")
        return self._values(part)

    def _split(self, word: Word, *, strict: bool = True) -> list[Value]:
        """The words that one word becomes: unquoted values are split at blanks, arrays at their items."""
        fields: list[Value] = []
        open_field: Value | None = None
        for part in word.parts:
            if isinstance(part, Unread) and not strict:
                continue
            if isinstance(part, Text) and not part.quoted and strict and ("*" in part.text or "?" in part.text):
                raise self._refuse(word.line, f"{word.source}: patterns for file names are not followed")
            quoted = isinstance(part, Text) or (isinstance(part, Variable) and part.quoted)
            for number, value in enumerate(self._expanded(part, word)):
                if number and open_field is not None:
                    fields.append(open_field)
                    open_field = None
                pieces = [value.text] if quoted else _pieces(value.text)
                for place, piece in enumerate(pieces):
                    if place and open_field is not None:
                        fields.append(open_field)
                        open_field = None
                    if piece or quoted:
                        before = open_field or Value("")
                        open_field = Value(before.text + piece, before.names | value.names)
                if not pieces and open_field is not None:  # nothing is left of it, but it was asked for
                    open_field = Value(open_field.text, open_field.names | value.names)
        return [*fields, *([open_field] if open_field is not None else [])]


def _pieces(text: str) -> list[str]:
    """An unquoted value split at blanks; an empty first or last piece stands for a blank at that end."""
    if not text.strip():
        return ["", ""] if text else []
    return [*([""] if text[0].isspace() else []), *text.split(), *([""] if text[-1].isspace() else [])]


def used_names(values: Iterable[Value]) -> set[str]:
    """The variables that reach any of the values."""
    return {name for value in values for name in value.names}
