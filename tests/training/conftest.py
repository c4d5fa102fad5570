"""Small base models and pictures, made once a session."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.training.workbench import Workbench

# What needs diffusers is imported where it is used: the offline tests of this folder do without, and it takes seconds.


@pytest.fixture(scope="session")
def materials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sd1, sd2, sdxl checkpoints, a tokenizer and six pictures."""
    from tests.training import tiny

    folder = tmp_path_factory.mktemp("materials")
    for family, make in (("sd1", tiny.sd1), ("sd2", tiny.sd2), ("sdxl", tiny.sdxl)):
        make(folder / f"{family}.safetensors")
    tiny.tokenizer(folder / "tokenizer")
    for index in range(6):
        size = [(80, 72), (120, 64), (64, 120)][index % 3]
        file = tiny.picture(folder / "pictures" / "2_cat" / f"{index}.png", size, seed=index)
        file.with_suffix(".txt").write_text(f"a cat, number {index}, grass")
    return folder


@pytest.fixture
def bench(materials: Path, tmp_path: Path) -> "Workbench":
    """Makes configs over the small models and trains them."""
    from tests.training.workbench import Workbench

    return Workbench(materials, tmp_path)
