"""Bash's tests `[[ ... ]]` and `[ ... ]`, evaluated as bash does, also for empty and non-numeric operands."""

import fnmatch
import re
from collections.abc import Callable, Sequence

from training.kohya.bash.shell import Shell
from training.kohya.bash.statements import Command
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

MOST_NESTED = 50
"""Brackets in a `[[ ]]`."""


class UnknownResult(Exception):
    """A test whose result cannot be known here."""


def evaluate(command: Command, shell: Shell) -> bool:
    """The result of a command `[[ ... ]]`, `[ ... ]` or `test ...`. Raises InputError that names the line."""
    kind = command.words[0].bare
    try:
        if kind == "[[":
            return _double(command.words[1:-1], lambda word: shell.whole(word).text)
        fields = [field.text for word in command.words[1:] for field in shell.split(word)]
        if kind == "[":
            if fields[-1:] != ["]"]:
                raise shell.refuse(command.line, "[ without ]")
            fields.pop()
        return _single(fields)
    except UnknownResult as error:
        raise shell.refuse(command.line, str(error)) from error


def _single(fields: Sequence[str]) -> bool:
    """The result of `[ fields ]`; a test that is an error in bash counts as false, as in an if."""
    turns = 0
    while len(fields) > 1 and fields[0] == "!":
        turns, fields = turns + 1, fields[1:]
    return _positive(fields) != bool(turns % 2)


def _positive(fields: Sequence[str]) -> bool:
    """The same without a `!` before it."""
    if len(fields) <= 1:
        return bool(fields and fields[0])
    if len(fields) == 2:
        return _of_one(*fields) if fields[0] in ("-z", "-n") or fields[0] in OF_FILES else False
    if len(fields) == 3 and (fields[1] in EQUAL or fields[1] in NUMERIC):
        return _compare(fields[0], fields[1], fields[2])
    if "-a" in fields or "-o" in fields:
        raise UnknownResult("-a and -o in [ ] are not read; write two tests joined by && or ||")
    return False


def _double(words: Sequence[Word], value: Callable[[Word], str]) -> bool:
    """The result of `[[ words ]]`; `value` expands a word. Raises UnknownResult."""
    if sum(word.bare == "(" for word in words) > MOST_NESTED:
        raise UnknownResult(f"more than {MOST_NESTED} brackets in [[ ]] are not read")
    answer, rest = _either(list(words), value)
    if rest:
        raise UnknownResult(f"{rest[0].source}: is not understood in [[ ]]")
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
    turns = next((at for at, word in enumerate(words) if word.bare != "!"), len(words))
    answer, rest = _test(words[turns:], value)
    return answer != bool(turns % 2), rest


def _test(words: list[Word], value: Callable[[Word], str]) -> tuple[bool, list[Word]]:
    """The same without a `!` before it."""
    if not words:
        raise UnknownResult("[[ ]] has no test in it")
    first = words[0].bare
    if first == "(":
        answer, rest = _either(words[1:], value)
        if not rest or rest[0].bare != ")":
            raise UnknownResult("( without ) in [[ ]]")
        return answer, rest[1:]
    if first is not None and (first in ("-z", "-n") or first in OF_FILES) and len(words) > 1:
        return _of_one(first, value(words[1])), words[2:]
    operator = words[1].bare if len(words) > 2 else None
    if operator in ("=~", "<", ">"):
        raise UnknownResult(f"{operator} in [[ ]] is not read")
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
        raise UnknownResult(f"{operator}: asks for files of the machine that the script runs on; write what it decides")
    return bool(text) == (operator == "-n")


def _compare(left: str, operator: str, right: str, empty: int | None = None) -> bool:
    """Compare two texts; a non-numeric operand makes a numeric test fail, an empty one is 0 in [[ ]]."""
    if operator in EQUAL:
        return (left == right) == (operator != "!=")
    numbers = [_whole(text) if empty is None else _computed(text, empty) for text in (left, right)]
    if numbers[0] is None or numbers[1] is None:
        return False
    return NUMERIC[operator](numbers[0], numbers[1])


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", text) else None


def _computed(text: str, empty: int) -> int | None:
    """An operand of [[ ]], which evaluates arithmetic; a number with a decimal point fails the test."""
    text = text.strip()
    if not text:
        return empty
    if re.fullmatch(r"[+-]?(0|[1-9][0-9]{,17})", text):
        return int(text)
    if re.fullmatch(r"[+-]?([0-9]+\.[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", text, re.IGNORECASE):
        return None
    raise UnknownResult(f"{text!r}: [[ ]] computes a value from it; write a decimal number")
