"""Refuses numbers and switches that a file writes as something else.

pydantic takes true for 1, "1_0" for 10 and "off" for false; in a file each of them is a mistake.
"""

from collections.abc import Iterator
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError, ValidationInfo
from pydantic_core import InitErrorDetails, PydanticCustomError


def exact(kind: type[BaseModel], value: Any, info: ValidationInfo) -> Any:
    """The raw value of a field of `kind`.

    Raises ValidationError, with the place and value of the item, if it is, or holds, a number or switch in disguise.
    """
    name = info.field_name
    if name and _may_be_disguised(kind, name):
        found = next(_disguised(kind.model_fields[name].annotation, value, ()), None)
        if found:
            raise ValidationError.from_exception_data(kind.__name__, [found])
    return value


@cache
def _may_be_disguised(kind: type[BaseModel], name: str) -> bool:
    """Whether a field has a number or a switch anywhere: most have none, and every host has all fields."""
    return _mentions_number(kind.model_fields[name].annotation)


def _mentions_number(annotation: Any) -> bool:
    return annotation in (int, float, bool) or any(map(_mentions_number, get_args(annotation)))


def _disguised(annotation: Any, value: Any, at: tuple[int | str, ...]) -> Iterator[InitErrorDetails]:
    """The items of the value, or it itself, that only look like what the annotation allows; `at`: its place."""
    members = list(_members(annotation))
    if isinstance(value, dict | list | tuple):
        items = list(value.items() if isinstance(value, dict) else enumerate(value))
        inner = [get_args(member)[-1 if isinstance(value, dict) else 0] for member in members if get_args(member)]
        for part in inner:
            for place, item in items:
                yield from _disguised(part, item, (*at, place))
    elif sentence := _wanted(members, value):
        yield InitErrorDetails(type=PydanticCustomError("disguised", "{said}", {"said": sentence}), loc=at, input=value)


def _wanted(members: list[Any], value: Any) -> str | None:
    """What the value must be, if it only looks like one of the types `members`."""
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
