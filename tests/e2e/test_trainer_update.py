"""A trainer that computes other numbers than the one before it is refused on its host.

What is refused for its time or memory: tests/deploy/test_trainer_trial.py.
"""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomlkit

from tests.e2e.conftest import TREE, Road, one_host

pytestmark = pytest.mark.lab

FATES = {
    "other": "_step = Progress.step\nProgress.step = lambda self, n, loss, *a: _step(self, n, loss + 1e-7, *a)\n",
    "good": "# as it was last month\n",
}
"""What a release adds to training/loop/progress.py."""


@pytest.fixture(scope="module")
def trains(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """A host that only trains. What a step takes beside other tests is no measure: each trainer has its two turns."""
    with one_host(tmp_path_factory.mktemp("trains"), "train") as road:
        document = tomlkit.parse(road.file.read_text())
        document.setdefault("fleet", tomlkit.table()).update({"rollout": {"slower": 1000, "memory": 1000}})
        road.file.write_text(tomlkit.dumps(document))
        yield road


def clone(folder: Path, fate: str) -> str:
    """A copy of the project whose trainer has that fate."""
    listed = subprocess.run(["git", "ls-files"], cwd=TREE, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TREE / name, folder / name)
    with (folder / "training/loop/progress.py").open("a") as code:
        code.write(FATES[fate])
    return str(folder)


@pytest.mark.parametrize(
    ("fate", "said"),
    [
        ("good", ""),
        ("other", "gate training: with the same environment the new trainer has other losses: "),
    ],
)
def test_what_a_new_trainer_costs(fate: str, said: str, trains: Road, tmp_path: Path) -> None:
    current = "basename $(readlink /srv/sdfleet/apps/trainer/current)"
    old = trains.on("h1", current)
    done = trains.sdfleet("update", "--locked", PYTHONPATH=clone(tmp_path, fate))
    print(done.text)
    assert said in done.text and done.code == (1 if said else 0), done.text
    assert (trains.on("h1", current) == old) == bool(said)
    if not said:
        print(table := trains.sdfleet("releases").text)
        assert table.count("steps/s") == 2, table
