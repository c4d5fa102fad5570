"""What a service's user does between two steps of root's: at the worst moment, every time."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest


def swap_after(monkeypatch: pytest.MonkeyPatch, call: str, name: str, swap: Callable[[], object]) -> None:
    """Do `swap` once, right after this process's next call of os.`call` for that name in an open folder."""
    real = getattr(os, call)

    def called(place: object, *arguments: object, **more: object) -> object:
        result = real(place, *arguments, **more)
        if place == name:
            monkeypatch.setattr(os, call, real)
            swap()
        return result

    monkeypatch.setattr(os, call, called)


def for_a_link(place: Path, target: Path) -> Callable[[], None]:
    """Moves away what has a name, and puts a link there."""

    def swap() -> None:
        place.rename(place.with_name(f"{place.name}-was"))
        place.symlink_to(target)

    return swap
