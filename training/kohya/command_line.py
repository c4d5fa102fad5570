"""Parses command lines of sd-scripts as its own parser does."""

import re
from collections import Counter
from collections.abc import Container, Sequence

from training.errors import InputError
from training.kohya.bash import Field
from training.kohya.conversion import Entry
from training.kohya.options import ALL, FLAGS, LISTS

_OPTION = re.compile(r"--([A-Za-z]\w*)$")
_NUMBER = re.compile(r"-\d+$|-\d*\.\d+$|-\d*\.?\d+e[+-]?\d+$", re.IGNORECASE)


def parse_command_line(where: str, words: Sequence[Field], known: Container[str]) -> dict[str, Entry]:
    """The values of a command line by option; of a repeated option the last counts.

    Options that are not `known` are kept, for the caller to refuse.
    Raises InputError, beginning with `where`, if sd-scripts would refuse the line.
    """
    found: dict[str, Entry] = {}
    origins: dict[str, str] = {}
    """The variable of the script that alone gives an option's value, else the option itself."""
    place = 0
    while place < len(words):
        word = words[place]
        option, equals, value = word.text.partition("=")
        match = _OPTION.match(option)
        if not match:
            raise InputError(f"{where}: {word.text!r} is no option of sd-scripts, nor the value of one")
        name, place = _whole(where, match[1], known), place + 1
        fields = [Field(value, word.names)] if equals else []
        while not equals and place < len(words) and not _is_option(words[place].text):
            fields.append(words[place])
            place += 1
        _check(where, name, fields, known)
        names = {origin for one in fields for origin in one.names}
        origins[name] = next(iter(names)) if len(names) == 1 else f"--{name}"
        found[name] = Entry(_content(name, fields), origins[name])
    shared = {label for label, uses in Counter(origins.values()).items() if uses > 1}
    return {
        name: Entry(entry.value, f"{entry.name} (--{name})") if entry.name in shared else entry
        for name, entry in found.items()
    }


def _whole(where: str, name: str, known: Container[str]) -> str:
    """The option that argparse takes `name` for: an abbreviation must fit exactly one option."""
    if name in ALL or name in known:
        return name
    fitting = sorted(option for option in ALL if option.startswith(name))
    if len(fitting) > 1:
        raise InputError(f"{where}: --{name} could be {', '.join(f'--{option}' for option in fitting)}; write it out")
    return fitting[0] if fitting else name


def _is_option(text: str) -> bool:
    return text.startswith("-") and not _NUMBER.match(text)


def _check(where: str, name: str, fields: Sequence[Field], known: Container[str]) -> None:
    given = " ".join(field.text for field in fields)
    if name in FLAGS and fields:
        raise InputError(f"{where}: --{name} takes no value, but {given!r} follows; sd-scripts refuses that")
    if name in LISTS or name in FLAGS or name not in known:
        return
    if not fields:
        raise InputError(f"{where}: --{name} needs a value")
    if len(fields) > 1:
        raise InputError(f"{where}: --{name} takes one value, but {given!r} follows; quote it if it has blanks")


def _content(name: str, fields: Sequence[Field]) -> str | bool | list[str]:
    if name in FLAGS:
        return True
    if name in LISTS:
        return [field.text for field in fields]
    return fields[0].text if fields else True
