"""Evaluates the assignments and conditions of a train.sh, up to the command that starts sd-scripts.

The part of bash that such scripts use is evaluated as in bash, including word splitting and arrays. Anything else that
could affect an option is an error with its line: nothing is guessed.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from training.errors import InputError
from training.kohya.bash import conditions
from training.kohya.bash.assignments import declare, unset
from training.kohya.bash.launch import SCRIPTS, Launch, launch_of, starts
from training.kohya.bash.shell import FROM_OUTSIDE, Shell
from training.kohya.bash.statements import Block, Chain, Command, If, Not, Statement, commands
from training.kohya.bash.syntax import DECLARATIONS, parse_script
from training.kohya.bash.words import ShellSyntaxError, Variable
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
        return _Evaluation(Shell(file, file.resolve().parent)).follow(parse_script(text))
    except ShellSyntaxError as error:
        raise InputError(f"{file}: line {error.line}: {error}") from error


@dataclass
class _Evaluation:
    shell: Shell
    tested: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    launch: Launch | None = None
    left: bool = False
    """Whether the script has called exit."""

    def follow(self, script: Block) -> Script:
        self._block(script)
        if self.launch is None:
            raise InputError(f"{self.shell.file}: no launch command of {' or '.join(SCRIPTS)} is in it")
        scalars = {name: items[0].text for name, items in self.shell.variables.items() if name not in self.shell.arrays}
        unset = self.tested - self.shell.variables.keys() - set(FROM_OUTSIDE)
        return Script(self.launch, scalars, self.tested, unset, self.shell.folder, self.notes)

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
        if isinstance(statement, Not):
            success = self._statement(statement.of)
            return None if success is None else not success
        if isinstance(statement, If):
            return self._if(statement)
        if self.launch is None:
            raise self.shell.refuse(
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
                or (not launch and starts(command.words, self.shell) is not None)
            ):
                raise self.shell.refuse(command.line, f"{why}; write what it decides into the script")

    def _command(self, command: Command) -> bool | None:
        name = command.words[0].bare if command.words else None
        if not command.words or name in DECLARATIONS:
            declare(command, self.shell)
            return True
        if name in ("[[", "[", "test"):
            self.tested |= {part.name for word in command.words for part in word.parts if isinstance(part, Variable)}
            return conditions.evaluate(command, self.shell)
        if name == "exit":
            self.left = True
            return True
        if name == "false":
            return False
        if name == "unset":
            unset(command, self.shell)
            return True
        return self._program(command)

    def _program(self, command: Command) -> bool | None:
        """A program or other builtin: it starts the training, affects it, or is irrelevant."""
        name = command.words[0].bare
        if self.launch is None and name == "cd":
            self._change_folder(command)
            return True
        if self.launch is None:
            _refuse_unfollowed(command, self.shell)
        if name not in ONLY_SHOW and starts(command.words, self.shell) is not None:
            self.launch = launch_of(command, self.shell, self.launch)
            return True
        if name in SUCCEED:
            return True
        if self.launch is None:
            self.notes.append(f"line {command.line}: {command.source}: is not run here")
        return None

    def _change_folder(self, command: Command) -> None:
        fields = [field.text for word in command.words[1:] for field in self.shell.split(word)]
        try:
            self.shell.folder = self.shell.folder / usable_path(fields[-1] if fields else "~")
        except ValueError as error:
            raise self.shell.refuse(command.line, f"cd: {error}") from error


def _refuse_unfollowed(command: Command, shell: Shell) -> None:
    """Refuse a command that could affect a variable in a way that is not followed."""
    name, shown = command.words[0].bare, command.source
    if name in ("source", ".") and not shown.rstrip("\"'").endswith("activate"):
        raise shell.refuse(command.line, f"{shown}: other scripts are not read; write into this one what they set")
    if name in CHANGE_THE_SHELL or (name == "set" and _sets_arguments(command)):
        raise shell.refuse(
            command.line, f"{shown}: is not followed here; write the values that it gives into the script"
        )
    if ELEMENT.match(command.words[0].source):
        raise shell.refuse(command.line, f"{shown}: items of arrays are set in brackets only: name=(...), name+=(...)")


def _sets_arguments(command: Command) -> bool:
    """Whether `set` has arguments beside its options and their names (`set -o pipefail`)."""
    words = [word.source for word in command.words]
    named = {at + 1 for at, word in enumerate(words) if word in ("-o", "+o", "-eo", "-euo")}
    return any(not word.startswith(("-", "+")) for at, word in enumerate(words) if at and at not in named)
