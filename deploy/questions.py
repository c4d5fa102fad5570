"""Send a host's questions ahead as one script, so that a no-op costs one round trip instead of many.

The controller remembers which commands the last run asked of a host while it prepared, never their answers. A lost or
outdated memory only costs time: missing questions are asked one at a time, and unnecessary ones are asked in vain.
"""

import contextlib
import hashlib
import json
import os
import re
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from pyinfra.connectors.util import CommandOutput, OutputLine

LONGEST = 4_000_000
"""Largest memory that is read, in bytes; typical ones have some ten thousand."""


class Memory:
    """The commands that the last run asked of one host, in a file that only its owner can read."""

    def __init__(self, folder: Path, *key: str) -> None:
        """
        + folder: the controller's folder of memories
        + key: everything that the questions depend on: the fleet's file, host, roles
        """
        self.file = folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.json"

    def read(self) -> list[str]:
        """Its commands; none if there is no valid memory."""
        try:
            with self.file.open("rb") as stream:
                told = json.loads(stream.read(LONGEST))
        except (OSError, ValueError, RecursionError):
            return []
        return [command for command in told if isinstance(command, str)] if isinstance(told, list) else []

    def write(self, commands: Sequence[str]) -> None:
        """Save `commands` for the next run, if the folder can be written."""
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.file.parent)  # mode 0600
            try:
                with os.fdopen(handle, "w") as stream:
                    json.dump(list(commands), stream)
                Path(name).replace(self.file)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise


def memory_folder() -> Path:
    """The user's folder of memories; it may be deleted at any time."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(base) / "sdfleet/questions"


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
