"""All questions of all roles of a host in one command.

A role asks for the facts that it needs where it needs them, and pyinfra sends a command for each. Here every role
is tried before anything is prepared: its first question ends the attempt and is noted. The questions of all roles
go to the host as one script, the answers are kept, and each role is tried again until none asks anything new. Then
the roles are prepared in earnest, and find every answer at hand.

What makes this safe: pyinfra refuses operations before its stage of preparing, so that an attempt declares nothing;
and while roles are prepared nothing changes on a host, so that an answer stays true until the first operation runs.
"""

import contextlib
import re
import secrets
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyinfra import logger
from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host
from pyinfra.connectors.util import CommandOutput, OutputLine

ROUNDS = 4
"""How often a role may ask for something that depends on an earlier answer before it has to ask for itself."""

Answer = tuple[bool, CommandOutput]
"""What a connector returns: whether the command succeeded, and what it printed."""

Key = tuple[str, str]
"""A command and how it is to be run."""


class _Asked(BaseException):
    """Ends the attempt of a role; no Exception, so that no role takes it for a fault."""


@dataclass(frozen=True)
class _Question:
    """A command that only reads, as a fact wants it run."""

    command: str
    arguments: dict[str, Any]

    @property
    def key(self) -> Key:
        return self.command, self.manner

    @property
    def manner(self) -> str:
        """Questions that share it can be asked in one command."""
        return repr(sorted(self.arguments.items()))

    def succeeded(self, status: int) -> bool:
        return status in (self.arguments.get("_success_exit_codes") or (0,))


@dataclass
class _Asker:
    """Stands in a host's connector: known answers are given at once, other questions noted or passed on."""

    run: Callable[..., Answer]
    attempting: bool = False
    known: dict[Key, Answer] = field(default_factory=dict)
    asked: dict[Key, _Question] = field(default_factory=dict)

    def __call__(
        self, command: StringCommand | str, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> Answer:
        raw = command.get_raw_value() if isinstance(command, StringCommand) else command
        question = _Question(raw, arguments)
        if question.key in self.known:
            return self.known[question.key]
        if not self.attempting:
            return self.run(command, print_output=print_output, print_input=print_input, **arguments)
        if not arguments.get("_stdin"):
            self.asked[question.key] = question
        raise _Asked

    def attempt(self, steps: Sequence[Callable[[], None]]) -> None:
        """Try each step as far as it gets without asking. What fails here fails again, and is told, in earnest."""
        self.attempting, logger.disabled = True, True
        try:
            for step in steps:
                with contextlib.suppress(Exception, _Asked):
                    step()
        finally:
            self.attempting, logger.disabled = False, False

    def answer(self) -> None:
        """Ask the host what was noted; what it leaves open is asked again, one by one, in earnest."""
        manners: dict[str, list[_Question]] = {}
        for question in self.asked.values():
            manners.setdefault(question.manner, []).append(question)
        self.asked.clear()
        for questions in manners.values():
            mark = secrets.token_hex(8)
            options = {**questions[0].arguments, "_success_exit_codes": None}
            # Over standard input, because one argument of a program may have 128 kB at most.
            options["_stdin"] = [script([question.command for question in questions], mark)]
            _, output = self.run(StringCommand("sh", "-s"), **options)
            for question, (status, lines) in zip(questions, answers(output, mark), strict=False):
                self.known[question.key] = question.succeeded(status), CommandOutput(lines)


def ask(host: Host, steps: Sequence[Callable[[], None]]) -> None:
    """Ask `host` on behalf of all `steps`, one a role, what they would ask; the answers are kept until `forget`.

    To be called with `host` as pyinfra's current one, before pyinfra's stage of preparing. Raises what the connector
    raises when the connection breaks.
    """
    asker = _Asker(host.connector.run_shell_command)
    vars(host.connector)["run_shell_command"] = asker
    for _ in range(ROUNDS):
        asker.attempt(steps)
        host.loop_position.clear()  # an attempt that ends inside host.loop leaves its position behind
        if not asker.asked:
            break
        asker.answer()


def forget(host: Host) -> None:
    """Let every question go to `host` again, which is about to change."""
    connector = vars(host.connector)
    if isinstance(asker := connector.get("run_shell_command"), _Asker):
        connector["run_shell_command"] = asker.run


def script(commands: Sequence[str], mark: str) -> str:
    """The shell script that runs `commands` and writes a line with `mark` and the exit status after each."""
    told = f"s=$?; printf '\\n{mark} %s\\n' $s; printf '\\n{mark} %s\\n' $s >&2"
    return "\n".join(f"sh -c {shlex.quote(command)} </dev/null; {told}" for command in commands)


def answers(output: CommandOutput, mark: str) -> Iterator[tuple[int, list[OutputLine]]]:
    """Exit status and lines of each command of `script`, as far as there are any."""
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
            # The mark begins with a line break, which is an empty line unless it ended an unfinished one.
            if lines and not lines[-1].line:
                lines.pop()
            yield int(end[1]), lines
            lines = []
        else:
            lines.append(line)
