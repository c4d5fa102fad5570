"""Which kinds of files load where: in diffusers by load_lora_weights, or merged into a checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.test_networks import ours, speak, trained
from tests.training.workbench import Workbench
from training.base.loading import BaseModel
from training.lora.merge import WeightedSource, bake
from training.sections.model import Model

pytestmark = pytest.mark.slow


def pipeline(base: BaseModel) -> Any:
    """diffusers' pipeline of a base model."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    encoders, tokenizer = base.text_encoders(torch.float32), base.tokenizer()
    parts: dict[str, Any] = {
        "unet": base.unet(torch.float32),
        "vae": base.vae(torch.float32),
        "text_encoder": encoders[0],
        "tokenizer": tokenizer,
        "scheduler": DDIMScheduler(),
    }
    if base.family == "sdxl":
        second: dict[str, Any] = {"text_encoder_2": encoders[1], "tokenizer_2": tokenizer}
        return StableDiffusionXLPipeline(**parts, **second)
    nothing: dict[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return StableDiffusionPipeline(**parts, **nothing)


def loaded(bench: Workbench, family: str, kind: str) -> tuple[Any, BaseModel, torch.Tensor]:
    """The pipeline, the base model, and what the UNet said before a trained file of this kind is loaded."""
    trained(bench, family, kind)
    model = Model(checkpoint=bench.materials / f"{family}.safetensors", tokenizer=bench.materials / "tokenizer")
    pipe = pipeline(BaseModel(model))
    return pipe, BaseModel(model), speak(pipe.unet, family)


@pytest.mark.parametrize(
    ("family", "kind"), [("sd1", "lora"), ("sd2", "lora"), ("sdxl", "lora"), ("sd1", "locon"), ("sdxl", "locon")]
)
def test_load_lora_weights_takes_the_file_as_it_is(bench: Workbench, family: str, kind: str) -> None:
    pipe, base, plain = loaded(bench, family, kind)
    pipe.load_lora_weights(str(bench.file("run")))
    said = speak(pipe.unet, family)
    assert (said - plain).abs().max() > 1e-3
    assert torch.allclose(said, speak(ours(bench.file("run"), base, kind), family), atol=1e-5)


def test_load_lora_weights_takes_text_encoders_too(bench: Workbench) -> None:
    bench.train("run", "sdxl", {"optimizer": {"learning_rate": 0.05}, "network": {"text_encoder": True}})
    model = Model(checkpoint=bench.materials / "sdxl.safetensors", tokenizer=bench.materials / "tokenizer")
    pipe = pipeline(BaseModel(model))
    tokens = torch.arange(1, 78)[None]
    encoders = (pipe.text_encoder, pipe.text_encoder_2)
    before = [encoder(tokens).last_hidden_state.detach() for encoder in encoders]
    pipe.load_lora_weights(str(bench.file("run")))
    for encoder, plain in zip(encoders, before, strict=True):
        assert (encoder(tokens).last_hidden_state - plain).abs().max() > 1e-3


def test_load_lora_weights_leaves_out_a_doras_magnitudes(bench: Workbench) -> None:
    """As docs/training.md says; if this fails, diffusers has learned to read them, and the docs can say so."""
    pipe, base, plain = loaded(bench, "sd1", "dora")
    pipe.load_lora_weights(str(bench.file("run")))
    said, right = speak(pipe.unet, "sd1"), speak(ours(bench.file("run"), base, "dora"), "sd1")
    assert (said - plain).abs().max() > 1e-3
    assert not torch.allclose(said, right, atol=1e-4)


@pytest.mark.parametrize("kind", ["loha", "lokr"])
def test_load_lora_weights_refuses_the_kinds_it_does_not_know(bench: Workbench, kind: str) -> None:
    pipe, _, plain = loaded(bench, "sd1", kind)
    with pytest.raises(ValueError, match="not been correctly renamed"):
        pipe.load_lora_weights(str(bench.file("run")))
    assert torch.equal(speak(pipe.unet, "sd1"), plain)


@pytest.mark.parametrize("kind", ["lora", "locon", "dora", "loha", "lokr"])
def test_merged_into_the_checkpoint_every_kind_opens_everywhere(bench: Workbench, tmp_path: Path, kind: str) -> None:
    base = trained(bench, "sd1", kind)
    plain = speak(base.unet(torch.float32), "sd1")
    merged = tmp_path / "merged.safetensors"
    assert not bake(bench.materials / "sd1.safetensors", [WeightedSource(bench.file("run"))], merged).unused
    said = speak(BaseModel(Model(checkpoint=merged)).unet(torch.float32), "sd1")
    assert (said - plain).abs().max() > 1e-3
    assert torch.allclose(said, speak(ours(bench.file("run"), base, kind), "sd1"), atol=1e-5)
