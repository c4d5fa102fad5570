"""Sentences that can be said in another language: each is English text that remembers its template and values."""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from string import Formatter
from typing import Any


class Said(str):
    """A sentence in English, made by `say`."""

    template: str
    """With a {placeholder} for each value."""
    values: Mapping[str, object]


class _Names(Formatter):
    """Placeholders are plain names: a dot in one is part of it, so that it can be a setting's."""

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, str]:
        return kwargs[field_name], field_name


def say(template: str, /, **values: object) -> Said:
    """The sentence of this template; values may be sentences too."""
    return _said(fill(template, values), template, values)


def fill(template: str, values: Mapping[str, object]) -> str:
    """The template, which may be another language's, with the values in its placeholders."""
    return _Names().vformat(template, (), values)


def placeholders(template: str) -> tuple[str, ...]:
    """The names of its placeholders."""
    return tuple(name for _, name, _, _ in Formatter().parse(template) if name is not None)


def capital(clause: str) -> str:
    """A clause as the beginning of a sentence."""
    begun = clause[:1].upper() + clause[1:]
    if not isinstance(clause, Said):
        return begun
    return _said(begun, clause.template, clause.values)


def listed(clauses: Iterable[str], joint: str) -> str:
    """Clauses, at least one, as a single one.

    + joint: template of two, {these} and {that}
    """
    return reduce(lambda these, that: say(joint, these=these, that=that), clauses)


def _said(text: str, template: str, values: Mapping[str, object]) -> Said:
    said = Said(text)
    said.template, said.values = template, values
    return said
