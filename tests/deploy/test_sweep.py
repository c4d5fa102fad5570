"""A sweep's runs, their names and settings, and the table at its end."""

import json
from pathlib import Path

import pytest

from deploy.runs.names import NAME, run_name
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


ODD = [
    "model.checkpoint=a/base.safetensors,b/base.safetensors,D:\\x\\base.safetensors,base",
    "data.x=小猫,a b,a-b,0.5,1e-4,x y",
]


def test_values_that_no_name_can_hold_still_name_their_runs() -> None:
    found = points("ink", ODD)
    names = [point.run for point in found]
    assert len(set(names)) == len(names) == 24
    assert all(NAME.fullmatch(name) for name in names)
    assert names == [point.run for point in points("ink", ODD)], "the same command goes on with the same runs"
    assert sum("checkpointbase-" in name for name in names) == 24 and names[21].endswith("-x0.5")
    assert found[0].overrides == ("model.checkpoint=a/base.safetensors", "data.x=小猫")


def test_a_sweep_of_many_long_values_keeps_its_names_short_and_apart() -> None:
    grid = [f"k{number}={'x' * 40}/{number},{'x' * 40}/{number + 1}" for number in range(6)]
    names = [point.run for point in points("a-sweep", grid)]
    assert len(set(names)) == 64 and all(NAME.fullmatch(name) for name in names)


def test_a_value_that_is_given_twice_is_one_run() -> None:
    assert [point.run for point in points("ink", ["lr=1,1,2"])] == ["ink-lr1", "ink-lr2"]


@pytest.mark.parametrize(
    ("text", "begins"), [("ink", "ink"), ("小猫 v1", "v1-"), ("小猫", ""), ("x" * 300, "xxx"), ("-a", "a-")]
)
def test_any_name_of_a_config_names_a_run(text: str, begins: str) -> None:
    name = run_name(text)
    assert NAME.fullmatch(name) and name.startswith(begins)


@pytest.mark.parametrize(
    "grid", [["lr"], ["lr="], ["=1"], ["lr=1", "lr=2"], [f"seed={','.join(map(str, range(MOST + 1)))}"]]
)
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
