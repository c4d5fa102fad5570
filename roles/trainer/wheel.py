"""The training code as a wheel, built from the tree beside this role: the same tree gives the same bytes."""

import tempfile
from functools import cache
from pathlib import Path

TRAINING = Path(__file__).resolve().parents[2] / "training"


@cache
def wheel() -> tuple[str, bytes]:
    """File name and content of the wheel."""
    from hatchling.builders.wheel import WheelBuilder  # slow to import, and most verbs build nothing

    with tempfile.TemporaryDirectory() as folder:
        (built,) = WheelBuilder(str(TRAINING)).build(directory=folder, versions=["standard"])
        return Path(built).name, Path(built).read_bytes()
