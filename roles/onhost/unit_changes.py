"""What differs between two texts of a service's unit, in the words of its command line and its mounts."""

from __future__ import annotations

import re

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
