"""Refuses numbers and switches that a file writes as something else.

pydantic takes true for 1, "1_0" for 10 and "off" for false; in a file each of them is a mistake.
"""

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationInfo

from training.errors import quoted


def exact(kind: type[BaseModel], value: Any, info: ValidationInfo) -> Any:
    """The raw value of a field of `kind`. Raises ValueError if it is, or holds, a number or switch in disguise."""
    sentence = _disguised(kind.model_fields[info.field_name].annotation, value) if info.field_name else None
    if sentence:
        raise ValueError(sentence)
    return value


def _disguised(annotation: Any, value: Any) -> str | None:
    """What the value must be, if it only looks like one that the annotation allows."""
    members = list(_members(annotation))
    if isinstance(value, dict | list | tuple):
        items = value.values() if isinstance(value, dict) else value
        inner = [get_args(member)[-1 if isinstance(value, dict) else 0] for member in members if get_args(member)]
        found = ((_disguised(part, item), item) for part in inner for item in items)
        return next((f"{said}, not {quoted(item)}" for said, item in found if said), None)
    words = [word for member in members if get_origin(member) is Literal for word in get_args(member)]
    number, switch = next((part for part in (float, int) if part in members), None), bool in members
    is_text, is_number = isinstance(value, str), isinstance(value, int | float) and not isinstance(value, bool)
    if value in words or (is_text and str in members):
        return None
    if switch and not number and (is_text or is_number):
        return f"must be true or false{''.join(f', or {word!r}' for word in words)}"
    if number and not switch and (is_text or isinstance(value, bool)):
        return "must be a number" if number is float else "must be a whole number"
    return None


def _members(annotation: Any) -> Iterator[Any]:
    """The types that a value may have: a union's members, without Annotated."""
    if get_origin(annotation) is Annotated:
        yield from _members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _members(part)
    else:
        yield annotation
