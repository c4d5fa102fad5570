"""What differs between two texts of a service's unit, in the words of its command line and its mounts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from roles.onhost import files

FOLLOWS = re.compile(r"--(fingerprint|release) \S+")
"""Words that follow from the others."""


OPTIONS = re.compile(r"--options options-\w+\.json")
"""The WebUI's options, in a file that is named by its content: the name says nothing to a person."""


def told(old: str, new: str) -> str:
    """What went and what came, from `old` to `new`: `without --medvram, with --xformers`; empty if nothing differs."""
    before, after = _words(old), _words(new)
    went, came = [word for word in before if word not in after], [word for word in after if word not in before]
    changes = [f"without {word}" for word in went if not OPTIONS.fullmatch(word)]
    changes += [f"with {word}" for word in came if not OPTIONS.fullmatch(word)]
    return ", ".join([*changes, *(["with other options"] if any(map(OPTIONS.fullmatch, came)) else [])])


def _words(text: str) -> list[str]:
    """What a unit says, for systemd or (JSON) for supervisord."""
    described = files.json_object(text.encode())
    return list(dict.fromkeys(_of_service(described) if described else _of_unit(text)))


def _of_unit(text: str) -> Iterator[str]:
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if line.startswith("#") or not equals:
            continue
        if key == "ExecStart":
            yield from _options(value)
        elif key == "BindReadOnlyPaths":
            yield f"extension {_short(value)}"
        else:
            yield line


def _of_service(its: dict[str, Any]) -> Iterator[str]:
    for key, value in its.items():
        if key == "program":
            yield from _options(" ".join(map(str, value)))
        elif key == "reads":
            yield from (f"extension {_short(str(place))}" for place in value.values())
        elif key == "environment":
            yield from (f"{name}={word}" for name, word in value.items())
        elif key != "marks":
            yield f"{key}={value}"


def _options(program: str) -> list[str]:
    """Its command line, an option with its value at a time."""
    return [_short(part) for part in re.split(r"\s+(?=--)", FOLLOWS.sub("", program))]


def _short(part: str) -> str:
    """A file by its name alone."""
    return " ".join(word.strip('"').rpartition("/")[2] for word in part.split())
