"""What tests share that type the program's commands: the hosts they are for, and how a command ended."""

import re
from dataclasses import dataclass
from pathlib import Path

from inventory.load import load
from inventory.model import Fleet
from lab.handle import Lab


@dataclass(frozen=True)
class Done:
    """How a run of the program ended."""

    code: int
    text: str
    """Standard output and standard error."""
    seconds: float

    def cell(self, host: str, column: str) -> str:
        """The entry of `host` below `column` in the table that the program printed last."""
        lines = self.text.splitlines()
        heads = [index for index, line in enumerate(lines) if re.match(r"host\s", line)]
        head = lines[heads[-1]]
        row = next(line for line in lines[heads[-1] :] if re.match(rf"{re.escape(host)}\s", line))
        cells, titles = (re.split(r"\s{2,}", line.strip()) for line in (row, head))
        return cells[titles.index(column)]


@dataclass(frozen=True)
class Hosts:
    """A folder with a fleet.toml for the hosts of a running lab."""

    lab: Lab
    folder: Path

    @property
    def file(self) -> Path:
        """Its fleet.toml."""
        return self.folder / "fleet.toml"

    @property
    def fleet(self) -> Fleet:
        """What the file says now."""
        return load(self.file)

    def on(self, host: str, command: str) -> str:
        """What a shell command prints on a host; the test fails if the command does."""
        done = self.lab.ssh(host, command)
        assert done.returncode == 0, f"{host}: {command}: {done.stderr}"
        return done.stdout.strip()
