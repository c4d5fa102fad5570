"""Whose word a first lock takes: the origin's, or that of two which agree; one mirror's only if nobody else answers."""

from collections.abc import Callable

import pytest

from deploy.locks.consensus import DisagreementError, Endpoints, Witnesses, confirmation
from inventory.errors import SdfleetError
from roles.models.sources.web import SourceError, UnreachableError

ORIGIN, ONE, TWO = "https://origin.example", "https://one.example", "https://two.example"
ENDPOINTS = Endpoints("huggingface", (ONE, TWO, ORIGIN), (ORIGIN,))


def answers(**said: str | Exception) -> tuple[Callable[[str], str], list[str]]:
    """Endpoints that answer so, and who was asked."""
    asked: list[str] = []

    def ask(endpoint: str) -> str:
        asked.append(endpoint)
        answer = said[endpoint.removeprefix("https://").removesuffix(".example")]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask, asked


SILENT = UnreachableError("does not answer")


def test_the_origin_is_asked_first_wherever_it_stands() -> None:
    ask, asked = answers(origin="true", one="false", two="false")
    assert Witnesses().ask(ENDPOINTS, ask) == ("true", (ORIGIN,))
    assert asked == [ORIGIN]


def test_without_the_origin_two_must_agree() -> None:
    ask, _ = answers(origin=SILENT, one="same", two="same")
    found = Witnesses().ask(ENDPOINTS, ask)
    assert found == ("same", (ONE, TWO))
    assert confirmation(found[1], ENDPOINTS) == f"{ONE} and {TWO} agree"


def test_a_mirror_that_is_contradicted_is_not_believed() -> None:
    ask, _ = answers(origin=SILENT, one="evil", two="true")
    with pytest.raises(DisagreementError, match="disagree"):
        Witnesses().ask(ENDPOINTS, ask)


def test_one_mirror_alone_is_believed_and_named() -> None:
    ask, _ = answers(origin=SILENT, one=SILENT, two="true")
    found = Witnesses().ask(ENDPOINTS, ask)
    assert found == ("true", (TWO,))
    assert confirmation(found[1], ENDPOINTS).startswith(f"only the mirror {TWO} answered, so nothing confirms it")


def test_a_blocked_link_is_waited_for_once() -> None:
    ask, asked = answers(origin=SILENT, one="true", two="true")
    witnesses = Witnesses()
    witnesses.ask(ENDPOINTS, ask)
    witnesses.ask(ENDPOINTS, ask)
    assert asked.count(ORIGIN) == 1


def test_all_reasons_are_told_where_nobody_knows() -> None:
    ask, _ = answers(origin=SILENT, one=SourceError("one has no such file"), two=SourceError("two wants a login"))
    with pytest.raises(SdfleetError, match="does not answer; one has no such file; two wants a login"):
        Witnesses().ask(ENDPOINTS, ask)


def test_another_mirror_is_asked_where_there_is_one() -> None:
    assert ENDPOINTS.without((ONE, ORIGIN)).urls == (TWO,)
    assert ENDPOINTS.without((ONE, TWO, ORIGIN)).urls == ENDPOINTS.urls
