"""Each of the thirty things that people hit is avoided, which a test shows, or known to the doctor by a real line."""

import ast
from pathlib import Path

import pytest

from deploy.doctor.comfyui_failures import COMFYUI
from deploy.doctor.failures import FAILURES
from tests.deploy.doctor.rows import ROWS, Row
from tests.deploy.doctor.test_failures import LINES, recognised

TESTS = Path(__file__).resolve().parents[2]


def test_there_are_thirty() -> None:
    assert [row.number for row in ROWS] == list(range(1, 31))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.number} {row.hit}")
def test_a_row_is_known_or_avoided(row: Row) -> None:
    assert row.known or row.avoided
    if row.known:
        assert list(recognised([LINES[row.known]])) == [row.known]
        assert [failure.seen for failure in FAILURES if failure.name == row.known] == [row.seen]
    for test in row.avoided:
        file, _, name = test.partition("::")
        nodes = ast.walk(ast.parse((TESTS / file).read_text()))
        functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
        assert name in functions, f"tests/{test} is gone: what shows now that this is avoided?"


def test_what_the_doctor_knows_besides_is_no_row() -> None:
    besides = {failure.name for failure in FAILURES if failure not in COMFYUI} - {row.known for row in ROWS}
    assert besides == {
        "a card fell off the bus or hangs",
        "the card's memory is too small for the picture or the batch",
    }
