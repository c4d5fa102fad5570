"""Loss and weights after 20 steps equal those of kohya's sd-scripts; see reference/README.md."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.training import reference
from training import network
from training.config import parse
from training.runner import train_in
from training.stopping import Stop

pytestmark = pytest.mark.slow

TOLERANCE = 1e-5
"""Of the losses, relative."""
WEIGHTS = 5e-5
"""Of all weights, relative to their norm: single numbers with next to no gradient follow rounding errors (AdamW). A
second thread alone moves SDXL's by 3.5e-5; see reference/README.md."""


@pytest.fixture(scope="session")
def recorded_materials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reference.make_materials(tmp_path_factory.mktemp("reference"))


@pytest.mark.parametrize("setting", reference.SETTINGS)
def test_twenty_steps_equal_kohyas(
    setting: str, recorded_materials: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    starts: list[dict[str, Tensor]] = []
    attach = network.attach

    def watched(*arguments: Any) -> network.Network:
        made = attach(*arguments)
        starts.append({name: value.clone() for name, value in made.tensors().items()})
        return made

    monkeypatch.setattr(network, "attach", watched)
    theirs = json.loads((reference.FOLDER / f"{setting}.json").read_text())
    train_in(parse(reference.tables(recorded_materials, setting), tmp_path / "config.toml"), tmp_path, Stop())

    final = load_file(tmp_path / "output" / f"{setting}.safetensors")
    assert hashlib.sha256("\n".join(sorted(final)).encode()).hexdigest() == theirs["keys_sha256"]
    start = {name: starts[0][name] for name in final if reference.defined(name)}
    assert reference.projections(start) == pytest.approx(theirs["start"], rel=1e-6, abs=1e-6), "another start"

    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [event["loss"] for event in events if event["event"] == "step"]
    assert losses == pytest.approx(theirs["losses"], rel=TOLERANCE)

    defined = {name: value for name, value in final.items() if reference.defined(name)}
    pairs = zip(reference.projections(defined), theirs["weights"], strict=True)
    distance = math.sqrt(sum((ours - recorded) ** 2 for ours, recorded in pairs))
    assert distance / theirs["norm"] < WEIGHTS
    # The weights moved by far more than that, so the comparison means something.
    assert theirs["moved"] / theirs["norm"] > 500 * WEIGHTS
