"""Evaluates the assignments and conditions of a train.sh, up to the command that starts sd-scripts.

The part of bash that such scripts use is evaluated as in bash, including word splitting and arrays. Anything else that
could affect an option is an error with its line: nothing is guessed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from training.errors import InputError
from training.kohya.bash import conditions
from training.kohya.bash.expansion import FROM_OUTSIDE, OF_BASH, Expansion, Value
from training.kohya.bash.launch import SCRIPTS, Launch, launch_of, starts
from training.kohya.bash.syntax import (
    DECLARATIONS,
    Assignment,
    Block,
    Chain,
    Command,
    If,
    Statement,
    commands,
    parse_script,
)
from training.kohya.bash.words import ShellSyntaxError, Variable, Word
from training.usable_path import usable_path

CHANGE_THE_SHELL = frozenset(
    ("eval", "read", "exec", "getopts", "mapfile", "readarray", "let", "alias", "trap", "shift", "return")
)
"""Builtins that could change a variable, or what follows."""

SUCCEED = frozenset(
    ("true", ":", "echo", "printf", "set", "sleep", "mkdir", "cd", "source", ".", "export", "shopt", "ulimit", "umask")
)
"""Commands that succeed wherever the training itself can be started."""

ONLY_SHOW = frozenset(("echo", "printf", "cat", "ls", "cp", "mv", "rm", "chmod", "grep", "sed", "tee"))
"""Programs whose arguments may name a program of sd-scripts without starting it."""

ELEMENT = re.compile(r"[A-Za-z_]\w*\[[^\]]*\]\+?=")


@dataclass
class Script:
    """The training that a script starts, and its variables."""

    launch: Launch
    variables: dict[str, str]
    tested: set[str]
    """Variables that conditions read."""
    unset: set[str]
    """Variables that are read but never set."""
    folder: Path
    """Relative paths start from here."""
    notes: list[str]


def evaluate_script(file: Path, text: str) -> Script:
    """Evaluate a script up to its launch command. Raises InputError that names the line."""
    try:
        return _Shell(Expansion(file, file.resolve().parent)).follow(parse_script(text))
    except ShellSyntaxError as error:
        raise InputError(f"{file}: line {error.line}: {error}") from error


@dataclass
class _Shell:
    words: Expansion
    fixed: set[str] = field(default_factory=set)
    """Variables that were declared readonly."""
    tested: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    launch: Launch | None = None
    left: bool = False
    """Whether the script has called exit."""

    def follow(self, script: Block) -> Script:
        self._block(script)
        if self.launch is None:
            raise InputError(f"{self.words.file}: no launch command of {' or '.join(SCRIPTS)} is in it")
        scalars = {name: items[0].text for name, items in self.words.variables.items() if name not in self.words.arrays}
        unset = self.tested - self.words.variables.keys() - set(FROM_OUTSIDE)
        return Script(self.launch, scalars, self.tested, unset, self.words.folder, self.notes)

    def _block(self, block: Block) -> bool | None:
        """Evaluate statements; returns whether the last one succeeded, None if that is unknown."""
        success: bool | None = True
        for statement in block:
            if not self.left:
                success = self._statement(statement)
        return success

    def _statement(self, statement: Statement) -> bool | None:
        if isinstance(statement, Command):
            return self._command(statement)
        if isinstance(statement, Chain):
            return self._chain(statement)
        if isinstance(statement, If):
            return self._if(statement)
        if self.launch is None:
            raise self.words.refuse(
                statement.line, f"{statement.what}: loops, functions and subshells are not followed; write what they do"
            )
        return True

    def _chain(self, chain: Chain) -> bool | None:
        if chain.rest[0][0] in ("|", "|&"):
            self._must_not_matter((chain,), "each part of a pipe runs in a shell of its own")
        success = self._statement(chain.first)
        for joint, following in chain.rest:
            if joint in ("|", "|&"):
                success = self._statement(following)
            elif success is None:
                self._must_not_matter((following,), "whether it runs depends on a program that is not run here")
                # Assume that the program succeeded: otherwise nobody would use this script.
                success = self._statement(following) if joint == "&&" else None
            elif success == (joint == "&&"):
                success = self._statement(following)
        return success

    def _if(self, statement: If) -> bool | None:
        for condition, body in statement.branches:
            success = self._block(condition)
            if success is None:
                for block in (*(branch for _, branch in statement.branches), statement.otherwise):
                    self._must_not_matter(block, "the if depends on a program that is not run here", launch=False)
                return None
            if success:
                return self._block(body)
        return self._block(statement.otherwise)

    def _must_not_matter(self, block: Block, why: str, *, launch: bool = True) -> None:
        """Refuse statements that could affect an option; `launch`: they may start the training."""
        for command in commands(block):
            declares = not command.words or command.words[0].bare in (*DECLARATIONS, "unset")
            if self.launch is None and (
                (declares and (command.assignments or command.words))
                or (not launch and starts(command.words, self.words) is not None)
            ):
                raise self.words.refuse(command.line, f"{why}; write what it decides into the script")

    def _command(self, command: Command) -> bool | None:
        name = command.words[0].bare if command.words else None
        if not command.words or name in DECLARATIONS:
            self._declare(command)
            return True
        if name == "!":
            success = self._command(Command(command.line, (), command.words[1:]))
            return None if success is None else not success
        if name in ("[[", "[", "test"):
            return self._test(command.words, command.line)
        if name == "exit":
            self.left = True
            return True
        if name == "false":
            return False
        if name == "unset":
            self._unset(command)
            return True
        return self._program(command)

    def _declare(self, command: Command) -> None:
        """Assign, with or without `declare` and similar builtins."""
        texts = [value.text for word in command.words for value in self.words.split(word)]
        given = [letter for text in texts[1:] if text[0] in "-+" for letter in text[1:]]
        if texts[:1] == ["local"]:
            raise self.words.refuse(command.line, "local: is for functions only; bash does not set it here")
        if set(given) - set("agrx"):
            raise self.words.refuse(command.line, f"{' '.join(texts)}: is not followed here; write a plain assignment")
        for assignment in command.assignments:
            self._assign(assignment, command.line)
            if texts[:1] == ["readonly"] or "r" in given:
                self.fixed.add(assignment.name)

    def _unset(self, command: Command) -> None:
        names = [value.text for word in command.words[1:] for value in self.words.split(word)]
        for name in names:
            if not name.isidentifier() and name not in ("-v", "-f"):
                raise self.words.refuse(command.line, f"unset {name}: is not followed here")
            if name != "-f":
                self.words.variables.pop(name, None)
                self.words.arrays.discard(name)

    def _assign(self, assignment: Assignment, line: int) -> None:
        name = assignment.name
        if name in self.fixed:
            raise self.words.refuse(line, f"{name}: is readonly; bash does not set it again")
        if name == "IFS" or name in OF_BASH:
            raise self.words.refuse(line, f"{name}: has a meaning for bash itself and is not followed here")
        before = self.words.variables.get(name, [])
        if isinstance(assignment.value, tuple):
            for word in assignment.value:
                if word.source.startswith("[") and "]=" in word.source:
                    raise self.words.refuse(line, f"{word.source}: items are read in their order only")
            self.words.arrays.add(name)
            kept = before if assignment.append else []
            self.words.variables[name] = [
                *kept,
                *(value for word in assignment.value for value in self.words.split(word)),
            ]
        else:
            value = self.words.whole(assignment.value)
            first = before[0] if before and assignment.append else Value("")
            self.words.variables[name] = [Value(first.text + value.text, first.names | value.names), *before[1:]]

    def _test(self, words: Sequence[Word], line: int) -> bool:
        self.tested |= {part.name for word in words for part in word.parts if isinstance(part, Variable)}
        try:
            if words[0].bare == "[[":
                return conditions.evaluate_double(words[1:-1], lambda word: self.words.whole(word).text)
            fields = [value.text for word in words[1:] for value in self.words.split(word)]
            if words[0].bare == "[":
                if fields[-1:] != ["]"]:
                    raise self.words.refuse(line, "[ without ]")
                fields.pop()
            return conditions.evaluate_single(fields)
        except conditions.UnknownResult as error:
            raise self.words.refuse(line, str(error)) from error

    def _program(self, command: Command) -> bool | None:
        """A program or other builtin: it starts the training, affects it, or is irrelevant."""
        line, name = command.line, command.words[0].bare
        shown = " ".join(word.source for word in command.words)
        if name == "cd" and self.launch is None:
            fields = [value.text for word in command.words[1:] for value in self.words.split(word)]
            try:
                self.words.folder = self.words.folder / usable_path(fields[-1] if fields else "~")
            except ValueError as error:
                raise self.words.refuse(line, f"cd: {error}") from error
            return True
        if name in ("source", ".") and not shown.rstrip("\"'").endswith("activate") and self.launch is None:
            raise self.words.refuse(line, f"{shown}: other scripts are not read; write into this one what they set")
        if name in CHANGE_THE_SHELL and self.launch is None:
            raise self.words.refuse(
                line, f"{shown}: is not followed here; write the values that it gives into the script"
            )
        if name not in ONLY_SHOW and starts(command.words, self.words) is not None:
            self.launch = launch_of(command, self.words, self.launch)
            return True
        if (
            self.launch is None
            and name == "set"
            and any(not word.source.startswith(("-", "+")) for word in _set(command))
        ):
            raise self.words.refuse(
                line, f"{shown}: is not followed here; write the values that it gives into the script"
            )
        if self.launch is None and ELEMENT.match(command.words[0].source):
            raise self.words.refuse(line, f"{shown}: items of arrays are set in brackets only: name=(...), name+=(...)")
        if name in SUCCEED:
            return True
        if self.launch is None:
            self.notes.append(f"line {line}: {shown}: is not run here")
        return None


def _set(command: Command) -> Sequence[Word]:
    """The arguments of `set`, without names of options (`set -o pipefail`)."""
    words = command.words[1:]
    return [word for at, word in enumerate(words) if not (at and words[at - 1].source in ("-o", "+o", "-eo", "-euo"))]
