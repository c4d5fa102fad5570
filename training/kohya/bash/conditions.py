"""The tests of bash: `[[ ... ]]` and `[ ... ]`, with bash's own answers where an operand is empty or no number."""

import fnmatch
import re
from collections.abc import Callable, Sequence

from training.kohya.bash.words import Text, Word

NUMERIC: dict[str, Callable[[int, int], bool]] = {
    "-eq": lambda a, b: a == b,
    "-ne": lambda a, b: a != b,
    "-lt": lambda a, b: a < b,
    "-le": lambda a, b: a <= b,
    "-gt": lambda a, b: a > b,
    "-ge": lambda a, b: a >= b,
}
EQUAL = ("=", "==", "!=")
OF_FILES = frozenset(
    (
        "-a",
        "-b",
        "-c",
        "-d",
        "-e",
        "-f",
        "-g",
        "-h",
        "-k",
        "-L",
        "-O",
        "-p",
        "-r",
        "-s",
        "-S",
        "-u",
        "-w",
        "-x",
    )
)


class Unknown(Exception):
    """A test whose answer cannot be known here."""


def single(fields: Sequence[str]) -> bool:
    """The answer of `[ fields ]`; a test that bash calls an error counts as false, as it does in an if."""
    if len(fields) <= 1:
        return bool(fields and fields[0])
    if fields[0] == "!":
        return not single(fields[1:])
    if len(fields) == 2:
        return _of_one(*fields) if fields[0] in ("-z", "-n") or fields[0] in OF_FILES else False
    if len(fields) == 3 and (fields[1] in EQUAL or fields[1] in NUMERIC):
        return _compare(fields[0], fields[1], fields[2])
    if "-a" in fields or "-o" in fields:
        raise Unknown("-a and -o in [ ] are not read; write two tests joined by && or ||")
    return False


def double(words: Sequence[Word], value: Callable[[Word], str]) -> bool:
    """The answer of `[[ words ]]`; `value` expands a word. Raises Unknown."""
    answer, rest = _either(list(words), value)
    if rest:
        raise Unknown(f"{rest[0].source}: is not understood in [[ ]]")
    return answer


def _either(words: list[Word], value: Callable[[Word], str]) -> tuple[bool, list[Word]]:
    answer, rest = _both(words, value)
    while rest and rest[0].bare == "||":
        other, rest = _both(rest[1:], value)
        answer = answer or other
    return answer, rest


def _both(words: list[Word], value: Callable[[Word], str]) -> tuple[bool, list[Word]]:
    answer, rest = _one(words, value)
    while rest and rest[0].bare == "&&":
        other, rest = _one(rest[1:], value)
        answer = answer and other
    return answer, rest


def _one(words: list[Word], value: Callable[[Word], str]) -> tuple[bool, list[Word]]:
    if not words:
        raise Unknown("[[ ]] has no test in it")
    first = words[0].bare
    if first == "!":
        answer, rest = _one(words[1:], value)
        return not answer, rest
    if first == "(":
        answer, rest = _either(words[1:], value)
        if not rest or rest[0].bare != ")":
            raise Unknown("( without ) in [[ ]]")
        return answer, rest[1:]
    if first is not None and (first in ("-z", "-n") or first in OF_FILES) and len(words) > 1:
        return _of_one(first, value(words[1])), words[2:]
    operator = words[1].bare if len(words) > 2 else None
    if operator in ("=~", "<", ">"):
        raise Unknown(f"{operator} in [[ ]] is not read")
    if operator in EQUAL and _is_pattern(words[2]):
        same = fnmatch.fnmatchcase(value(words[0]), value(words[2]))
        return same == (operator != "!="), words[3:]
    if operator is not None and (operator in EQUAL or operator in NUMERIC):
        return _compare(value(words[0]), operator, value(words[2]), empty=0), words[3:]
    return bool(value(words[0])), words[1:]


def _is_pattern(word: Word) -> bool:
    return any(isinstance(part, Text) and not part.quoted and set(part.text) & set("*?[") for part in word.parts)


def _of_one(operator: str, text: str) -> bool:
    if operator in OF_FILES:
        raise Unknown(f"{operator}: asks for files of the machine that the script runs on; write what it decides")
    return bool(text) == (operator == "-n")


def _compare(left: str, operator: str, right: str, empty: int | None = None) -> bool:
    """Two texts compared; numbers that are none make the test fail, an empty one is 0 in [[ ]]."""
    if operator in EQUAL:
        return (left == right) == (operator != "!=")
    numbers = [_whole(text, empty) for text in (left, right)]
    if numbers[0] is None or numbers[1] is None:
        return False
    return NUMERIC[operator](numbers[0], numbers[1])


def _whole(text: str, empty: int | None) -> int | None:
    if not text.strip():
        return empty
    return int(text) if re.fullmatch(r"\s*[+-]?\d+\s*", text) else None
