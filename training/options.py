"""What the command lines have in common: how --help names values, and paths on this machine. Imports without torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from training.usable_path import usable_path

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
