"""A number or a switch in disguise is refused in every section: true is not 1, "1_000" is not 1000, 1 is not true."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from tests.training.test_bounds import ROOTS, inner, numbers
from training.config import Config, parse_config
from training.errors import InputError

SOUND: dict[str, Any] = {"name": "cat", "model": {"checkpoint": "a"}, "data": {"folder": "p"}}
FREE = {("Optimizer", "args")}
"""Settings whose values may be of any kind."""


def switches(kind: type[BaseModel], seen: set[type]) -> list[tuple[type[BaseModel], str]]:
    """Every table below `kind`, with each of its settings that may be true or false."""
    seen.add(kind)
    found = []
    for name, field in kind.model_fields.items():
        parts = list(inner(field.annotation))
        found += [(kind, name)] if bool in parts else []
        tables = [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
        found += [pair for table in tables if table not in seen for pair in switches(table, seen)]
    return found


NUMBERS = [pair for pair in numbers(Config, set()) if (pair[0].__name__, pair[1]) not in FREE]
SWITCHES = [pair for pair in switches(Config, set()) if (pair[0].__name__, pair[1]) not in FREE]


def refused(kind: type[BaseModel], name: str, value: Any) -> bool:
    try:
        kind.model_validate({name: value})
    except ValidationError as error:
        return any(detail["loc"][:1] == (name,) for detail in error.errors())
    return False


def test_no_number_is_a_switch_or_text() -> None:
    assert len(NUMBERS) > 60
    for kind, name in NUMBERS:
        text = () if name == "resolution" else ("1", "128", "1_000", " 5 ", "1e3", "0x10", "٣", "")
        for value in (True, False, *text):
            for form in (value, [value], [value, value], {"a": value}):
                assert refused(kind, name, form), (kind.__name__, name, form)


def test_no_switch_is_a_number_or_text() -> None:
    assert len(SWITCHES) > 25
    for kind, name in SWITCHES:
        for value in (1, 0, 1.0, "true", "on", "off", "False", ""):
            assert refused(kind, name, value), (kind.__name__, name, value)
        assert not refused(kind, name, True)


def test_tables_of_a_fleet_take_no_number_or_switch_in_disguise_either() -> None:
    """TOML says 22 and true; "22" and 1 are a mistake, or a value for another setting."""
    tables = [root for name, root in ROOTS.items() if name != "training"]
    numbered = [pair for table in tables for pair in numbers(table, set())]
    switched = [pair for table in tables for pair in switches(table, set())]
    assert len(numbered) > 40 and len(switched) > 6
    taken = []
    for pairs, wrong, other in ((numbered, (True, "22"), bool), (switched, (1, "on"), (int, float))):
        for kind, name in pairs:
            parts = set(inner(kind.model_fields[name].annotation))
            for value in wrong:
                fits = type(value) in parts or (other is not bool and {int, float} & parts)
                if not fits and not refused(kind, name, value):
                    taken.append((kind.__name__, name, value))
    assert taken == []


@pytest.mark.parametrize(
    ("tables", "sentence"),
    [
        ({"network": {"rank": True}}, "network.rank: must be a whole number (is true)"),
        ({"train": {"steps": "1_000"}}, "train.steps: must be a whole number (is '1_000')"),
        ({"network": {"alpha": "8"}}, "network.alpha: must be a number (is '8')"),
        ({"network": {"ranks": {"a": True}}}, "network.ranks.a: must be a whole number (is true)"),
        ({"network": {"ranks": {"a": "4"}}}, "network.ranks.a: must be a whole number (is '4')"),
        ({"optimizer": {"args": {"betas": [0.9, "x"]}}}, "optimizer.args.betas.1: must be a number (is 'x')"),
        ({"optimizer": {"args": {"betas": ["0.9", 0.99]}}}, "optimizer.args.betas.0: must be a number (is '0.9')"),
        ({"train": {"steps": 1000.5}}, "train.steps: must be a whole number (is 1000.5)"),
        ({"network": {"unet": 1}}, "network.unet: must be true or false (is 1)"),
        ({"data": {"folder": "p", "cache_text": "true"}}, "cache_text: must be true or false, or 'auto' (is 'true')"),
        (
            {"data": {"folder": "p", "resolution": True}},
            'must be a number, "width,height" or [width, height] (is true)',
        ),
        ({"data": {"subsets": [{"folder": "x", "repeats": True}]}}, "subsets.0.repeats: must be a whole number (is tr"),
        ({"model": {"checkpoint": 1}}, "model.checkpoint: must be a path, in quotes (is 1)"),
        ({"model": 1}, "model: must be a table (is 1)"),
        ({"sample": {"prompts": "a cat"}}, "sample.prompts: must be a list (is 'a cat')"),
    ],
)
def test_each_is_told_in_a_sentence(tables: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_config(SOUND | tables, Path("my.toml"))
    assert len(raised.value.problems) == 1
    assert sentence in raised.value.problems[0]


def test_whole_numbers_may_be_written_with_a_point_and_fractions_without() -> None:
    found = parse_config(SOUND | {"train": {"steps": 1e3}, "network": {"alpha": 8}}, Path("my.toml"))
    assert (found.train.steps, found.network.alpha) == (1000, 8.0)
    assert Config.model_validate(json.loads(found.model_dump_json())) == found
