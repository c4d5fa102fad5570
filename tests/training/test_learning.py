"""A LoRA learns what captions say of real photographs: held-back crops are predicted better, and only with captions
that belong to the pictures."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch.nn import functional

from tests.training import photographs
from training.base.loading import BaseModel
from training.config import parse_config
from training.run.runner import train_in
from training.sections.model import Model
from training.signals import Stop

pytestmark = pytest.mark.slow

STEPS = 150


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return photographs.write_base(tmp_path_factory.mktemp("base") / "model", steps=300)


def validation_losses(base: Path, folder: Path, shuffled: bool) -> list[float]:
    """The losses of held-back crops before, during and after a run."""
    photographs.write_crops(folder / "pictures", "photo", each=6, seed=1, shuffled=shuffled)
    photographs.write_crops(folder / "held", "photo", each=2, seed=2)
    raw = photographs.config(base, folder, STEPS, seed=1)
    train_in(parse_config(raw, folder / "config.toml"), folder / "run", Stop())
    events = map(json.loads, (folder / "run" / "log.jsonl").read_text().splitlines())
    return [event["loss"] for event in events if event["event"] == "validation"]


def test_held_back_photographs_are_predicted_better_by_their_captions(base: Path, tmp_path: Path) -> None:
    true, shuffled = (validation_losses(base, tmp_path / str(mixed), mixed) for mixed in (False, True))
    assert true[0] == shuffled[0], "both start from the base model"
    falls = [1 - losses[-1] / losses[0] for losses in (true, shuffled)]
    print(f"validation loss {true[0]:.4f} falls by {falls[0]:.1%}, with shuffled captions by {falls[1]:.1%}")
    assert falls[0] > 0.08
    assert falls[0] > 2 * falls[1]
    assert true[-1] < true[1] < true[0]


@torch.no_grad()
def test_the_vae_is_the_mean_of_blocks(base: Path) -> None:
    """Otherwise the sample pictures would show something else than what was learned."""
    vae = cast(Any, BaseModel(Model(checkpoint=base)).vae(torch.float32))
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    means = functional.avg_pool2d(pixels, 8)
    drawn = vae.decode(vae.encode(pixels).latent_dist.mean).sample
    torch.testing.assert_close(drawn, functional.interpolate(means, scale_factor=8), rtol=0, atol=0.03)
