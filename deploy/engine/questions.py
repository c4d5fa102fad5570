"""Send a host's questions ahead as one script, so that a no-op costs one round trip instead of many.

The controller remembers which commands the last run asked of a host while it prepared, never their answers. A lost or
outdated memory only costs time: missing questions are asked one at a time, and unnecessary ones are asked in vain.
"""

import re
import secrets
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from pyinfra.api.command import StringCommand
from pyinfra.connectors.util import CommandOutput, OutputLine

from deploy.connection.remembered import Remembered
from inventory.files import state_folder

LONGEST = 4_000_000
"""Largest memory that is read, in bytes; typical ones have some ten thousand."""

Answer = tuple[bool, CommandOutput]
"""What a connector returns: whether the command succeeded, and what it printed."""


class Memory(Remembered):
    """The commands that the last run asked of one host; its key: fleet's file, host, roles."""

    def commands(self) -> list[str]:
        """Those commands; none if there is no valid memory."""
        told = self.read(LONGEST)
        return [command for command in told if isinstance(command, str)] if isinstance(told, list) else []


def memory_folder() -> Path:
    """The user's folder of memories."""
    return state_folder() / "questions"


def script(commands: Sequence[str], mark: str) -> str:
    """The shell script that runs `commands` and writes a line with `mark` and the exit status after each.

    Each runs in its own shell without input, so that they cannot affect each other.
    """
    told = f"s=$?; printf '\\n{mark} %s\\n' $s; printf '\\n{mark} %s\\n' $s >&2"
    return "\n".join(f"sh -c {shlex.quote(command)} </dev/null; {told}" for command in commands)


def answers(output: CommandOutput, mark: str) -> Iterator[tuple[int, list[OutputLine]]]:
    """Exit status and lines of each command of `script`, as far as the output goes."""
    ends = re.compile(rf"{mark} (\d+)")
    parts = zip(_parts(output, "stdout", ends), _parts(output, "stderr", ends), strict=False)
    for (status, out), (_, err) in parts:
        yield status, [*out, *err]


def _parts(output: CommandOutput, name: str, ends: re.Pattern[str]) -> Iterator[tuple[int, list[OutputLine]]]:
    lines: list[OutputLine] = []
    for line in output:
        if line.buffer_name != name:
            continue
        if end := ends.fullmatch(line.line):
            # The mark begins with a line break: an empty line, unless the output did not end with one.
            if lines and not lines[-1].line:
                lines.pop()
            yield int(end[1]), lines
            lines = []
        else:
            lines.append(line)


class Questions:
    """The questions to one host in one run. The first is sent together with all that the memory lists."""

    def __init__(self, memory: Memory | None) -> None:
        self.memory = memory
        self.remembered: list[str] = []
        """What the last run asked, read when this one asks first."""
        self.context: str | None = None
        """User and shell of the first question. Questions with others are asked one at a time."""
        self.asked: dict[str, None] = {}
        self.known: dict[str, tuple[int, CommandOutput]] = {}
        """Exit status and output of the questions asked together."""
        self.alone: dict[str, Answer] = {}
        self.open = True

    def ask(self, command: StringCommand | str, arguments: dict[str, Any], send: Any) -> Answer:
        text, context = _text(command), _context(arguments)
        secret = str(command) != text  # pyinfra masks what must not be seen
        if not self.open or secret or context != (self.context or context):
            return cast(Answer, send(command, **arguments))
        first, self.context = self.context is None, context
        self.asked[text] = None
        if first and self.memory:
            self.remembered = self.memory.commands()
        if first and (expected := [one for one in self.remembered if one != text]):
            self._together([text, *expected], arguments, send)
        if answer := self.answer(command, arguments):
            return answer
        self.alone[text] = send(command, **arguments)
        return self.alone[text]

    def answer(self, command: StringCommand | str, arguments: dict[str, Any]) -> Answer | None:
        """The answer to a question that was asked before in the same context (user, shell)."""
        text = _text(command)
        if _context(arguments) != self.context or text not in self.asked:
            return None
        if text in self.known:
            status, output = self.known[text]
            return status in (arguments.get("_success_exit_codes") or (0,)), output
        return self.alone.get(text)

    def _together(self, commands: list[str], arguments: dict[str, Any], send: Any) -> None:
        """Ask all `commands` at once; those missing in the answer are asked again when they are needed."""
        mark = secrets.token_hex(8)
        # Over standard input, because a single argument is limited to 128 kB.
        options = {**arguments, "_success_exit_codes": None, "_stdin": [script(commands, mark)]}
        _, output = send(StringCommand("sh", "-s"), **options)
        for command, (status, lines) in zip(commands, answers(output, mark), strict=False):
            self.known[command] = status, CommandOutput(lines)

    def forget(self) -> None:
        """Answer nothing from memory from now on: the host is about to change."""
        self.open = False
        self.known.clear()
        self.alone.clear()

    def remember(self) -> None:
        """Save this run's questions for the next run."""
        if self.memory and self.asked and list(self.asked) != self.remembered:
            self.memory.write(list(self.asked))


def _text(command: StringCommand | str) -> str:
    return command.get_raw_value() if isinstance(command, StringCommand) else command


def _context(arguments: dict[str, Any]) -> str:
    """How a command is run: its arguments except those that define success."""
    return repr(sorted((name, value) for name, value in arguments.items() if name != "_success_exit_codes"))
