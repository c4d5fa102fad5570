"""What the command lines have in common: how --help names values, and paths on this machine. Imports without torch."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from training.figures import LARGEST
from training.usable_path import usable_path

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_DIGITS = re.compile(r"[0-9]{1,20}")

Function = TypeVar("Function", bound=Callable[..., Any])


class _Plain:
    """Commands whose parameters show no Python types: typer draws <bool> beside flags and <list[str]> beside names."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for each in params:
            if each.param_type_name == "argument":
                # An argument's metavar is its name, beside which typer draws the type; only this method knows it.
                each.display_type_rich = lambda ctx: ""
            elif each.is_flag:
                each.metavar = ""
            elif each.metavar is None and not _has_choices(each):
                each.metavar = each.name.upper()
        return params


def _has_choices(option: Any) -> bool:
    descriptor = getattr(option, "type_descriptor", None)  # of typer's own; earlier versions have click's type
    return bool(descriptor.is_choice) if descriptor else hasattr(option.type, "choices")


class Command(_Plain, TyperCommand):
    """One verb."""


class Group(_Plain, TyperGroup):
    """Several."""


class CommandLine(typer.Typer):
    """A program, or a group of its verbs."""

    def __init__(self, *, cls: type[TyperGroup] = Group, **arguments: Any) -> None:
        super().__init__(cls=cls, **arguments)

    def command(
        self, name: str | None = None, *, cls: type[TyperCommand] | None = Command, **arguments: Any
    ) -> Callable[[Function], Function]:
        return super().command(name, cls=cls, **arguments)


def given_path(path: Path | None) -> Path | None:
    """Check a path on this machine, whether or not there is a file: a `callback` of typer's."""
    try:
        return path and usable_path(path)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def number(text: str) -> float:
    """A finite number as people write it: Python's own reader takes "1_0", "nan" and digits of every script too.

    Raises ValueError.
    """
    found = float(text) if _NUMBER.fullmatch(text.strip()) else math.nan
    if not math.isfinite(found):
        raise ValueError("must be a number")
    return found


def share(given: str | float) -> float:
    """A number from 0 to 1: a `parser` of typer's, which gets defaults too. typer's own range takes NaN."""
    text = str(given)
    try:
        found = number(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise typer.BadParameter(f"must be a number from 0 to 1 (is {text!r})")
    return found


def at_least(least: int) -> Callable[[str | int], int]:
    """A `parser` of typer's for whole numbers from `least`; its own sentences do not show the value."""

    def whole(given: str | int) -> int:
        text = str(given)
        found = int(text) if _DIGITS.fullmatch(text) else least - 1
        if found < least:
            raise typer.BadParameter(f"must be a whole number, at least {least} (is {text!r})")
        if found > LARGEST:
            raise typer.BadParameter(f"must be at most {LARGEST}")
        return found

    return whole
