"""What differs between two texts of a service's unit, in the words of its command line and its mounts."""

from __future__ import annotations

import re

FOLLOWS = re.compile(r"--(fingerprint|release) \S+")
"""Words that follow from the others."""


def changes(old: str, new: str) -> tuple[list[str], list[str]]:
    """What came and what went, from `old` to `new`; a flag and its value are one word."""
    before, after = _words(old), _words(new)
    return [word for word in after if word not in before], [word for word in before if word not in after]


def told(old: str, new: str) -> str:
    """The same as a person reads it: `without --medvram, with --xformers`; empty if nothing differs."""
    came, went = changes(old, new)
    return ", ".join([*(f"without {word}" for word in went), *(f"with {word}" for word in came)])


def _words(text: str) -> list[str]:
    found: list[str] = []
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if line.startswith("#") or not equals:
            continue
        if key == "ExecStart":
            found += [_short(part) for part in re.split(r"\s+(?=--)", FOLLOWS.sub("", value))]
        elif key == "BindReadOnlyPaths":
            found.append(f"extension {_short(value)}")
        else:
            found.append(line)
    return list(dict.fromkeys(found))


def _short(part: str) -> str:
    """A file by its name alone."""
    return " ".join(word.strip('"').rpartition("/")[2] for word in part.split())
