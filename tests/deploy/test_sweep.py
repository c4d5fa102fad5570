"""A sweep's runs, their names and settings, and the table at its end."""

import json
from pathlib import Path

import pytest

from deploy.runs.sweep import MOST, compare, points
from inventory.errors import ConfigError
from tests.deploy.test_report import make_run


def test_grid_becomes_named_runs_with_their_settings() -> None:
    found = points("ink", ["lr=1e-4,5e-5", "network.rank=8,16"])
    assert [point.run for point in found] == [
        "ink-lr1e-4-rank8",
        "ink-lr1e-4-rank16",
        "ink-lr5e-5-rank8",
        "ink-lr5e-5-rank16",
    ]
    assert found[1].overrides == ("optimizer.learning_rate=1e-4", "network.rank=16")


@pytest.mark.parametrize("grid", [["lr"], ["lr="], ["=1"], ["lr=1", "lr=2"], [f"seed={','.join('1' * (MOST + 1))}"]])
def test_bad_grids_are_refused(grid: list[str]) -> None:
    with pytest.raises(ConfigError, match="--grid"):
        points("ink", grid)


def test_best_run_comes_first_and_all_are_in_one_file(tmp_path: Path) -> None:
    found = points("ink", ["lr=1,2,3"])
    for point, factor in zip(found[:2], (2.0, 1.0), strict=True):
        record = make_run(tmp_path / point.run) / "run.json"
        values = json.loads(record.read_text())
        values["losses"] = [[step, loss * factor] for step, loss in values["losses"]]
        record.write_text(json.dumps(values))
    titles, rows = compare(found, ["lr=1,2,3"], tmp_path, tmp_path / "sweep.html")
    assert titles[:2] == ["run", "lr"]
    assert [row[0] for row in rows] == ["ink-lr2", "ink-lr1", "ink-lr3"] and rows[2][2] == "no record"
    text = (tmp_path / "sweep.html").read_text()
    assert text.count("data:image/png;base64,") == 12 and "ink-lr3" in text
