"""Inputs that are nearly right: sound tables changed at random places, as text of odd encodings. For property tests."""

import copy
import json
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

Tables = dict[str, Any]
Place = tuple[str | int, ...]

MORE = int(os.environ.get("EXAMPLES", "1"))
"""How many times as many inputs `make explore` tries, each time other ones; all other runs try the same ones."""


def examples(count: int) -> settings:
    """Settings of a property test that tries `count` inputs in a run of the tests."""
    return settings(
        max_examples=count * MORE,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=MORE == 1,
        database=None,
    )


FEW = examples(25)
"""For every run of the tests."""
MANY = examples(500)
"""For those that are marked slow."""

TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            *("", " ", "\0", "a\0b", "\n", "\x1b[31m", "\u202e", "\ufeff", "\u2028", "小猫", "🐱" * 80, "x" * 5000),
            *(
                "~",
                "~no-such-user/x",
                "..",
                "../../etc/passwd",
                "/",
                "/proc/self/mem",
                "/dev/zero",
                "C:\\x",
                "\\\\s\\y",
            ),
            *("-oProxyCommand=x", "--help", "$(id)", "${a", "`id`", "%n", "{x}", "[bold]", "http://[", "hf:", "file:"),
            *("1e400", "nan", "inf", "0x10", "1_0", "-0", "true", "None", "1,2,3", "512,", "a=b", "9" * 400),
            *(
                "x/" * 2500,
                "é",
                "e\u0301",
                "\ud7ff",
                "\U0010ffff",
                "con",
                "a b",
                "'",
                '"',
                "\\",
                "#",
                "=",
                "[[models]]",
            ),
        ]
    ),
)
NUMBERS = st.one_of(
    st.integers(-3, 1100),
    st.sampled_from([2**31, 2**63 - 1, 2**63, 2**64, 10**30, 10**400, -1, -(2**63)]),
    st.sampled_from([0.0, -0.0, 1e-320, 1e308, float("inf"), float("-inf"), float("nan"), 0.5, 1e22]),
)
MOMENTS = st.sampled_from([datetime(2026, 11, 27, tzinfo=UTC), datetime(1, 1, 1), date(9999, 12, 31), time(23, 59)])
VALUES = st.recursive(
    st.booleans() | NUMBERS | TEXTS | MOMENTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS.filter(bool), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def changed(draw: st.DrawFn, sound: Tables, names: tuple[str, ...] = ()) -> Tables:
    """`sound` with one to four changes; `names` are further keys that a change may set."""
    tables = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.sampled_from(sorted(_places(tables), key=repr)))
        match draw(st.sampled_from(["value", "value", "new", "known", "drop", "wrap", "nest"])):
            case "value" if place:
                _set(tables, place, draw(VALUES))
            case "drop" if place:
                _drop(tables, place)
            case "wrap" if place:
                _set(tables, place, [_get(tables, place)])
            case "nest" if place:
                _set(tables, place, {draw(TEXTS.filter(bool)): _get(tables, place)})
            case how:
                table = _get(tables, place)
                if isinstance(table, dict):
                    keys = st.sampled_from(sorted(names)) if names and how == "known" else TEXTS.filter(bool)
                    table[draw(keys)] = draw(VALUES)
    return tables


def encoded(text: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    """The text as bytes: mostly UTF-8, else another encoding, cut short, or with odd bytes in it."""

    def spoil(parts: tuple[str, str, int, bytes]) -> bytes:
        written, how, at, odd = parts
        data = written.encode("utf-16" if how == "utf-16" else "gbk" if how == "gbk" else "utf-8", errors="replace")
        if how == "bom":
            return b"\xef\xbb\xbf" + data
        if how == "cut":
            return data[: at % (len(data) + 1)]
        return data[:at] + odd + data[at:] if how == "odd" else data

    hows = st.sampled_from(["utf-8"] * 8 + ["bom", "utf-16", "gbk", "cut", "odd"])
    return st.tuples(text, hows, st.integers(0, 2000), st.binary(max_size=6)).map(spoil)


def as_toml(tables: Tables) -> str:
    """The tables as TOML, each value in one line."""
    return "".join(f"{_word(key)} = {_value(value)}\n" for key, value in tables.items())


DEEP = "a = " + "[" * 20_000
"""TOML and JSON that parsers leave by recursion, and a number of more digits than Python reads."""
ENDLESS = f"a = {'1' * 5000}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_word(key)} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return _word(str(value)) if isinstance(value, str | Path) else repr(value)


def _word(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _places(value: Any, at: Place = ()) -> Iterator[Place]:
    yield at
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from _places(inner, (*at, key))


def _get(tables: Any, place: Place) -> Any:
    for key in place:
        tables = tables[key]
    return tables


def _set(tables: Any, place: Place, value: Any) -> None:
    _get(tables, place[:-1])[place[-1]] = value


def _drop(tables: Any, place: Place) -> None:
    del _get(tables, place[:-1])[place[-1]]
