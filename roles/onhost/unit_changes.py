"""What differs between two texts of a service's unit, in the words of its command line and its mounts."""

from __future__ import annotations

import re

FOLLOWS = re.compile(r"--(fingerprint|release) \S+")
"""Words that follow from the others."""


def told(old: str, new: str) -> str:
    """What went and what came, from `old` to `new`: `without --medvram, with --xformers`; empty if nothing differs."""
    before, after = _words(old), _words(new)
    went = [f"without {word}" for word in before if word not in after]
    return ", ".join([*went, *(f"with {word}" for word in after if word not in before)])


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
