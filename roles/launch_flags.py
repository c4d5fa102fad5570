"""Launch flags of an application in fleet.toml: which there are, what each takes, and how they are written."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from roles.settings import is_line, raise_all
from training.spelling import did_you_mean

Flag = bool | int | float | str
Kind = Literal["switch", "integer", "number", "text"] | tuple[str, ...]
"""What a flag takes; a tuple has the words that are allowed."""
TAKES = {"switch": "true or false", "integer": "a whole number", "number": "a number", "text": "text"}
GPU_NUMBER = re.compile(r"[0-9]{1,3}")


@dataclass(frozen=True)
class LaunchFlags:
    """The flags of one application, by argparse's names: --device-id is device_id."""

    application: str
    """What messages call it."""
    table: str
    """Its table in fleet.toml."""
    kinds: Mapping[str, Kind]
    managed: Mapping[str, str]
    """Flags that sdfleet sets -> what to do instead."""
    gpu: str
    """The flag that takes the number of one GPU."""
    others: str
    """Where a flag belongs that is none of these."""
    spelled: Mapping[str, str] = field(default_factory=dict)
    """Name -> the option, where that is not the name with hyphens."""

    def checked(self, given: Mapping[str, Flag]) -> dict[str, Flag]:
        """The flags for the launcher, however they are spelled. Raises ValidationError with all that is wrong."""
        found: dict[str, Flag] = {}
        problems = []
        for told, value in given.items():
            name = told.lstrip("-").replace("-", "_")
            try:
                is_line(str(value))
                if name in found:
                    raise ValueError(f"{name} is given twice")
                found[name] = self._checked(name, value)
            except ValueError as error:
                problems.append(str(error))
        raise_all(problems, given)
        return found

    def _checked(self, name: str, value: Flag) -> Flag:
        if name in self.managed:
            raise ValueError(f"{name} is decided by sdfleet and cannot be a flag; {self.managed[name]}")
        kind = self.kinds.get(name)
        if kind is None:
            hint = did_you_mean(name, self.kinds)
            raise ValueError(f"{self.application} has no flag {name}{hint}; {self.others} goes into extra_arguments")
        if name == self.gpu:
            if isinstance(value, bool) or not GPU_NUMBER.fullmatch(str(value)):
                raise ValueError(f"{name} takes the number of one GPU, not {value!r}")
            return str(value)
        if isinstance(kind, tuple):
            if value not in kind:
                raise ValueError(f"{name} takes one of {', '.join(kind)}, not {value!r}")
        elif not _fits(kind, value):
            raise ValueError(f"{name} takes {TAKES[kind]}, not {value!r}")
        return value

    def refusal(self, argument: str) -> str:
        """Why an argument cannot be one that the launcher has beside these flags; empty if it can."""
        if not argument.startswith("--"):
            return ""
        option, _, _ = argument.partition("=")
        if " " in option:
            words = ", ".join(f'"{word}"' for word in argument.split(None, 1))
            return f"{argument!r} is one word to the launcher; give its words apart: {words}"
        name = option.removeprefix("--").replace("-", "_")
        if name in self.kinds:
            return f"{option} is a flag of {self.application}; set {self.table}.flags.{name}"
        # argparse accepts an unambiguous abbreviation of a flag.
        whole = next((flag for flag in (self.gpu, *self.managed) if name and flag.startswith(name)), "")
        if whole in self.kinds:
            return f"{option} is a beginning of {self._option(whole)}; set {self.table}.flags.{whole}"
        if whole:
            return f"{option} is decided by sdfleet; {self.managed.get(name, self.managed[whole])}"
        return ""

    def _option(self, name: str) -> str:
        return self.spelled.get(name) or "--" + name.replace("_", "-")

    def arguments(self, flags: Mapping[str, Flag]) -> list[str]:
        """Checked flags as words of a command line."""
        words: list[str] = []
        for name, value in sorted(flags.items()):
            if value is True:
                words.append(self._option(name))
            elif value is not False:
                words += [self._option(name), str(value)]
        return words


def _fits(kind: str, value: Flag) -> bool:
    match kind:
        case "switch":
            return isinstance(value, bool)
        case "integer":
            return type(value) is int
        case "number":
            return type(value) in (int, float)
    return isinstance(value, str)
