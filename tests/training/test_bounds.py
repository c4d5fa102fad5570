"""Every number that a person can write has an upper bound: nothing overflows later, and no wait outlasts poll(2)."""

import json
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from deploy.runs.progress import Progress
from inventory.lock import Lock
from inventory.model import ROLE_TABLES, FleetTable, HostTable
from inventory.rollout import Rollout, share
from roles.models.config import Model
from training.bounds import LONGEST_WAIT
from training.config import Config
from training.figures import LARGEST, is_figure

ROOTS: dict[str, type[BaseModel]] = {
    **{"fleet": FleetTable, "host": HostTable, "model": Model, "lock": Lock, "training": Config},
    **ROLE_TABLES,
}
HUGE = {"400 digits": 10**400, "a little too much": 2**63, "below 0": -(10**400), "a float": 1e308}


def inner(annotation: Any) -> Iterator[Any]:
    """The types that an annotation names."""
    parts = typing.get_args(annotation)
    yield from (found for part in parts for found in inner(part)) if parts else (annotation,)


def numbers(kind: type[BaseModel], seen: set[type]) -> Iterator[tuple[type[BaseModel], str]]:
    """Every table below `kind`, with each of its settings that may be, or hold, a number."""
    seen.add(kind)
    for name, field in kind.model_fields.items():
        for found in inner(field.annotation):
            if isinstance(found, type) and issubclass(found, BaseModel) and found not in seen:
                yield from numbers(found, seen)
        if {int, float} & set(inner(field.annotation)):
            yield kind, name


SETTINGS = [pair for root in ROOTS.values() for pair in numbers(root, set())]


@pytest.mark.parametrize("case", HUGE)
def test_no_setting_takes_a_number_that_overflows(case: str) -> None:
    assert len(SETTINGS) > 80
    taken = []
    for kind, name in SETTINGS:
        for value in (HUGE[case], [HUGE[case]], {"a": HUGE[case]}, [[HUGE[case]] * 2]):
            try:
                kind.model_validate({name: value})
            except ValidationError as error:
                if any(detail["loc"][:1] == (name,) for detail in error.errors()):
                    continue
            taken.append((kind.__name__, name, value))
    assert taken == []


def test_what_stands_inside_a_setting_is_bounded_too() -> None:
    for value, sentence in ((10, f"must be at most {LARGEST}"), (-10, f"must be at least -{LARGEST}")):
        for found in ({"options": {"a": value * LARGEST}}, {"flags": {"a": value * LARGEST}}):
            with pytest.raises(ValidationError, match=sentence):
                ROLE_TABLES["webui"].model_validate(found)
    ROLE_TABLES["webui"].model_validate({"options": {"a": LARGEST}})


def test_longest_waits_fit_what_programs_wait() -> None:
    """subprocess waits with poll(2), which takes a C int of milliseconds."""
    settings = Rollout(picture_seconds=LONGEST_WAIT, stable_seconds=LONGEST_WAIT)
    longest = settings.stable_seconds + 2 * settings.picture_seconds + 60
    assert longest * 1000 < 2**31
    webui: Any = ROLE_TABLES["webui"].model_validate({"start_timeout": LONGEST_WAIT})
    assert (2 * webui.start_timeout + 120) * 1000 < 2**31


def test_a_share_is_no_more_than_there_are() -> None:
    assert (share(LARGEST, 3), share("100%", 3), share("1%", 3)) == (3, 3, 1)


@pytest.mark.parametrize("value", [0, -3, 0.5, LARGEST, -LARGEST])
def test_a_figure_is_a_number_within_the_bounds(value: float) -> None:
    assert is_figure(value)


@pytest.mark.parametrize(
    "value", [True, None, "1", [1], LARGEST + 1, -1e13, 10**400, float("nan"), float("inf"), float("-inf")]
)
def test_what_is_no_figure_counts_neither_in_logs_nor_in_records(value: object) -> None:
    assert not is_figure(value)
    progress = Progress()
    progress.feed(json.dumps({"event": "step", "step": value, "eta_s": value, "memory_mb": value, "loss": value}))
    assert (progress.step, progress.eta_s, progress.memory_mb, progress.losses) == (0, None, None, [])
