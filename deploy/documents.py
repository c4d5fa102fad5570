"""The document that a command prints with `--json`: what all of them have. `shapes` says what each tells of hosts."""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

VERSION = 1
"""Raised when a key changes its meaning or goes; new keys do not raise it."""


@dataclass(frozen=True)
class Failure:
    """What went wrong."""

    what: Annotated[str, "One sentence that says what failed."]
    where: Annotated[str, "The host, the file and its setting, or the option; empty if it is none of them."] = ""
    next: Annotated[str, "What to do about it."] = ""

    def sentence(self) -> str:
        """All of it on one line."""
        return " ".join(filter(None, (f"{self.where}:" if self.where else "", f"{self.what.rstrip('.')}.", self.next)))


@dataclass(frozen=True, kw_only=True)
class Host:
    """What every host of a document has."""

    error: Annotated[Failure | None, "Why the host failed; null if it did not."] = None


@dataclass(frozen=True, kw_only=True)
class Lost(Host):
    """A host that did not answer: it has no other keys."""

    warning: Annotated[str, "When a rented host was last seen, and when its provider releases it."] = ""


@dataclass(frozen=True, kw_only=True)
class Document:
    """What a command prints with --json."""

    version: Annotated[int, "The version of these documents."] = VERSION
    command: Annotated[str, "The command: `status`."]
    exit_code: Annotated[int, "The exit code: 0, 1 failed, 2 wrong usage or configuration, 3 drift."]
    errors: Annotated[tuple[Failure, ...], "What ended the command; empty if nothing did."] = ()
    seconds: Annotated[float, "How long the command took."] = 0.0
    hosts: Annotated[Mapping[str, Host], "The hosts, by name; empty if an error ended the command."] = field(
        default_factory=dict
    )

    def write(self) -> None:
        """Print it. In ASCII: names and log lines of hosts must not act on a terminal."""
        sys.stdout.write(json.dumps(plain(asdict(self)), indent=2, ensure_ascii=True, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """A value for JSON: numbers to the thousandth, and none that are not finite."""
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    return value
