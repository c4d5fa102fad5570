"""data.encode = "along": pictures are encoded when they are first shown, and read before the first step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training import tiny
from tests.training.workbench import Workbench
from training.errors import InputError, TrainingError
from training.signals import Stop

pytestmark = pytest.mark.slow


class After(Stop):
    """Does something after the first step, and stops then if that says so."""

    def __init__(self, act: Callable[[], bool]) -> None:
        self._act = act

    def check(self) -> None:
        """Preparing is not disturbed."""

    @property
    def asked(self) -> bool:  # type: ignore[override]
        return self._act()


def pictures(bench: Workbench, encode: str = "along") -> dict[str, Any]:
    """Six pictures and a cache of their own."""
    folder = bench.folder / "pictures"
    for index in range(6):
        tiny.picture(folder / "1_cat" / f"{index}.png", seed=index)
    return {"data": {"folder": str(folder), "cache_folder": str(bench.folder / "cache"), "encode": encode}}


def encoded(bench: Workbench) -> int:
    """Pictures in the cache."""
    return len(list((bench.folder / "cache" / "latents").rglob("*.safetensors")))


@pytest.mark.parametrize(("encode", "at_first"), [("ahead", 6), ("along", 2), ("auto", 2)])
def test_the_first_step_waits_for_its_own_pictures_only(bench: Workbench, encode: str, at_first: int) -> None:
    tables = pictures(bench, encode)
    assert bench.train("run", tables=tables, stop=After(lambda: True)).startswith("stopped")
    assert encoded(bench) == at_first
    bench.train("run", tables=tables)
    assert encoded(bench) == 6


def test_every_broken_picture_is_named_before_the_first_step(bench: Workbench) -> None:
    tables = pictures(bench)
    broken = [bench.folder / "pictures" / "1_cat" / name for name in ("1.png", "4.png")]
    for file in broken:
        file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(InputError) as caught:
        bench.train("run", tables=tables)
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [str(file) for file in broken]
    assert not (bench.folder / "run" / "log.jsonl").exists()


def test_a_picture_that_changes_before_it_is_encoded_ends_the_run(bench: Workbench) -> None:
    tables = pictures(bench)
    kept: dict[Path, bytes] = {}

    def change() -> bool:
        for file in Path(tables["data"]["folder"]).rglob("*.png"):
            kept.setdefault(file, file.read_bytes())
            tiny.picture(file, seed=99)
        return False

    with pytest.raises(TrainingError, match=r"\.png: was changed while the run was going on; put it back"):
        bench.train("run", tables=tables, stop=After(change))
    assert encoded(bench) == 2
    for file, content in kept.items():
        file.write_bytes(content)
    bench.train("run", tables=tables)
    assert encoded(bench) == 6
