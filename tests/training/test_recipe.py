"""The recipe against a plain loop written by hand, and its options."""

import shutil
from typing import Any, cast

import pytest
import torch
from torch.nn import functional

from tests.training.workbench import Workbench
from training.base.loading import BaseModel
from training.config import Config
from training.data import pictures
from training.loop.objective import Objective
from training.loop.prepare import prepare
from training.lora import network as networks
from training.run_folder import RunFolder

pytestmark = pytest.mark.slow


def plain_loop(config: Config, run: RunFolder, steps: int) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The least that trains a LoRA: AdamW and cosine by torch, nothing of the recipe's loop."""
    base = BaseModel(config.model)
    prepared = prepare(
        config.data, config.train, base, pictures.find_pictures(config.data), run, lambda *_: None, (), along=False
    )
    unet: Any = base.unet(torch.float32)
    network = networks.attach(config.network, config.train.seed, base.family, unet, [])
    parameters = [parameter for _, parameter in network.named()]
    optimizer = torch.optim.AdamW(parameters, lr=config.optimizer.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    objective, losses = Objective(config.objective, False, config.train.seed, torch.device("cpu")), []
    for number in range(steps):
        batch = prepared.batches[number]
        assert batch.latents is not None and batch.hidden is not None
        noisy = objective.noisy(batch.latents, objective.draw(batch.latents.shape, number))
        added = {"text_embeds": batch.pooled, "time_ids": batch.sizes} if base.family == "sdxl" else None
        said = unet(noisy.latents, noisy.timesteps, batch.hidden, added_cond_kwargs=added).sample
        loss = functional.mse_loss(said, noisy.target)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, network.tensors()


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_twenty_steps_equal_a_plain_loop(bench: Workbench, family: str) -> None:
    tables = {"train": {"steps": 20}}
    bench.train("ours", family, tables)
    losses, weights = plain_loop(bench.config(family, tables), RunFolder(bench.folder / "plain"), 20)
    assert [event["loss"] for event in bench.events("ours", "step")] == pytest.approx(losses, rel=1e-5)
    for key, value in bench.tensors("ours").items():
        torch.testing.assert_close(value, weights[key], rtol=1e-4, atol=1e-6)


def test_accumulation_takes_the_mean_over_its_batches(bench: Workbench) -> None:
    """With weights that hardly move, a step's loss is the mean of the losses of its batches."""
    still = {"optimizer": {"learning_rate": 1e-12}}
    bench.train("single", tables={**still, "train": {"steps": 6}})
    bench.train("threes", tables={**still, "train": {"steps": 2, "accumulation": 3}})
    single = [event["loss"] for event in bench.events("single", "step")]
    threes = [event["loss"] for event in bench.events("threes", "step")]
    assert threes == pytest.approx([sum(single[:3]) / 3, sum(single[3:]) / 3], rel=1e-5)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_diffusers_folder_trains_like_the_single_file(bench: Workbench, family: str) -> None:
    base = BaseModel(bench.config(family).model)
    folder = bench.folder / "model"
    unet, vae = cast(Any, base.unet(torch.float32)), cast(Any, base.vae(torch.float32))
    unet.save_pretrained(folder / "unet")
    vae.save_pretrained(folder / "vae")
    for number, encoder in enumerate(base.text_encoders(torch.float32)):
        cast(Any, encoder).save_pretrained(folder / ("text_encoder" if number == 0 else "text_encoder_2"))
    shutil.copytree(bench.materials / "tokenizer", folder / "tokenizer")
    bench.train("file", family)
    bench.train("folder", family, {"model": {"checkpoint": str(folder), "tokenizer": None}})
    for key, value in bench.tensors("file").items():
        torch.testing.assert_close(bench.tensors("folder")[key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "train",
    [
        {"precision": "bf16"},
        {"full_precision": False, "precision": "bf16"},
        {"gradient_checkpointing": True},
        {"channels_last": True},
        {"attention": "plain"},
        {"ema_decay": 0.5},
    ],
    ids=lambda train: next(iter(train)),
)
def test_options_train_nearly_the_same(bench: Workbench, train: dict[str, Any]) -> None:
    slow = {"schedule": {"kind": "constant"}}
    bench.train("plain", tables=slow)
    bench.train("option", tables={**slow, "train": train})
    losses = [[event["loss"] for event in bench.events(run, "step")] for run in ("plain", "option")]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    if "ema_decay" in train:
        plain, averaged = bench.tensors("plain"), bench.tensors("option")
        ups = [key for key in plain if key.endswith("lora_up.weight")]
        assert all(averaged[key].norm() < plain[key].norm() for key in ups)


def test_length_in_epochs(bench: Workbench) -> None:
    bench.train("run", tables={"train": {"epochs": 2, "steps": None}})
    assert bench.events("run", "end")[0]["step"] == 12
    assert bench.events("run", "end")[0]["epoch"] == 2


def test_shuffled_captions_and_225_tokens_are_encoded_in_the_step(bench: Workbench) -> None:
    captions = {"shuffle": True, "weighted": True}
    tables = {"data": {"captions": captions}, "model": {"max_token_length": 225, "clip_skip": 2}}
    bench.train("run", tables=tables)
    assert len(bench.events("run", "step")) == 4


def test_warm_caches_load_neither_vae_nor_text_encoders(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.train("first")

    def refuse(*_: object) -> None:
        raise AssertionError("was loaded although everything is cached")

    for part in ("vae", "text_encoders", "tokenizer"):
        monkeypatch.setattr(BaseModel, part, refuse)
    bench.train("second")
    assert bench.digest("first") == bench.digest("second")
