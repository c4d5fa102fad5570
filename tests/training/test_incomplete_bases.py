"""Base models with missing or odd parts: `check` and the training name the file, the part and the fault."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.training.workbench import Workbench
from training.base.loading import BaseModel
from training.config import parse_config
from training.errors import InputError
from training.run.check import check_report
from training.sections.model import Model

pytestmark = pytest.mark.slow
State = dict[str, Tensor]
UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer.text_model."
XL = "conditioner.embedders.1.model."


def without(*starts: str) -> Callable[[State], State]:
    return lambda state: {name: value for name, value in state.items() if not name.startswith(starts)}


def renamed(old: str, new: str) -> Callable[[State], State]:
    return lambda state: {name.replace(old, new): value for name, value in state.items()}


def quantised(name: str) -> Callable[[State], State]:
    return lambda state: {**state, name: (state[name] * 100).to(torch.int8)}


BROKEN: dict[str, tuple[str, Callable[[State], State], str]] = {
    "a UNet cut short": (
        "sd1",
        without(f"{UNET}out."),
        f"its UNet is incomplete or of another layout (no tensor {UNET}",
    ),
    "a UNet without its first blocks": ("sd1", without(f"{UNET}input_blocks.1"), f"(no tensor {UNET}input_blocks.1.0."),
    "a UNet without sizes": ("sdxl", without(f"{UNET}label_emb"), f"(no tensor {UNET}label_emb.0.0.weight)"),
    "a UNet's number": (
        "sd1",
        renamed("input_blocks.1.", "input_blocks.one."),
        f"its UNet is incomplete or of another layout (a tensor is called {UNET}input_blocks.one.",
    ),
    "no decoder": (
        "sd1",
        without(f"{VAE}decoder."),
        f"its VAE is incomplete or of another layout (no tensor {VAE}decoder.conv_in.weight)",
    ),
    "no VAE": ("sd1", without(VAE), "holds no VAE in the original layout (no tensor encoder.conv_in.weight)"),
    "a VAE's level": ("sd1", without(f"{VAE}encoder.down.0."), f"(no tensor {VAE}encoder.down.0.block.0.conv1.weight)"),
    "no embedding": (
        "sd1",
        without(f"{TEXT}embeddings."),
        f"its text encoder is incomplete or of another layout (no tensor {TEXT}embeddings.token_embedding.weight)",
    ),
    "a quantised UNet": (
        "sd1",
        quantised(f"{UNET}middle_block.0.in_layers.2.weight"),
        f"its weights are quantised ({UNET}middle_block.0.in_layers.2.weight is I8), which is not read here",
    ),
    "a UNet with scales beside": (
        "sd1",
        lambda state: {**state, f"{UNET}middle_block.0.in_layers.2.scale_weight": torch.tensor(3.0)},
        f"its weights are quantised ({UNET}middle_block.0.in_layers.2.scale_weight), which is not read here",
    ),
    "a quantised text encoder": (
        "sd1",
        quantised(f"{TEXT}encoder.layers.0.mlp.fc1.weight"),
        f"({TEXT}encoder.layers.0.mlp.fc1.weight is I8), which is not read here",
    ),
    "a quantised VAE": ("sd1", quantised(f"{VAE}decoder.conv_in.weight"), f"({VAE}decoder.conv_in.weight is I8)"),
    "no layers": ("sd1", without(f"{TEXT}encoder.layers."), f"(no tensor {TEXT}encoder.layers.*)"),
    "no second encoder's positions": ("sdxl", without(f"{XL}positional"), f"(no tensor {XL}positional_embedding)"),
    "SD 2's layers": (
        "sd2",
        without("cond_stage_model.model.transformer."),
        "(no tensor cond_stage_model.model.transformer.resblocks.*)",
    ),
}


def saved(bench: Workbench, family: str, change: Callable[[State], State]) -> Path:
    file = bench.folder / "odd.safetensors"
    save_file(
        {k: v.contiguous() for k, v in change(load_file(bench.materials / f"{family}.safetensors")).items()}, file
    )
    return file


def check_problems(bench: Workbench, **model: str) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        check_report(parse_config(bench.raw(tables={"model": model}), Path("my.toml")))
    return caught.value.problems


@pytest.mark.parametrize("name", BROKEN)
def test_an_incomplete_base_model_is_named_by_check_and_by_the_training(bench: Workbench, name: str) -> None:
    family, change, sentence = BROKEN[name]
    file = saved(bench, family, change)
    [problem] = check_problems(bench, checkpoint=str(file))
    assert problem.startswith(f"{file}: ") and sentence in problem
    if "is incomplete" in problem:
        assert problem.endswith("; download the file again, or use another one")
    base = BaseModel(Model(checkpoint=file))
    with pytest.raises(InputError) as caught:
        for part in (base.unet, base.vae, base.text_encoders):
            part(torch.float32)
    assert str(caught.value) == problem


def test_a_file_that_only_its_conversion_shows_to_be_odd_is_named(bench: Workbench) -> None:
    file = saved(bench, "sdxl", without(f"{UNET}label_emb.0.2."))
    with pytest.raises(InputError) as caught:
        BaseModel(Model(checkpoint=file)).unet(torch.float32)
    assert f"{file}: its UNet is incomplete or of another layout (no tensor label_emb.0.2.weight)" in str(caught.value)


def test_a_missing_bias_of_a_convolution_is_named(bench: Workbench) -> None:
    file = saved(bench, "sd1", lambda state: {k: v for k, v in state.items() if not k.endswith(".op.bias")})
    with pytest.raises(InputError, match="its UNet does not fit: 1 tensors are missing, 0 have another shape"):
        BaseModel(Model(checkpoint=file)).unet(torch.float32)


@pytest.mark.parametrize("extra", ["encoder.conv_in.weight", "encoder.down_blocks.0.resnets.0.conv1.weight"])
def test_a_vae_file_in_diffusers_layout_is_told_where_its_sizes_are(bench: Workbench, extra: str) -> None:
    file = bench.folder / "diffusion_pytorch_model.safetensors"
    names = ("encoder.down_blocks.0.resnets.0.conv1.weight", "decoder.conv_in.weight", extra)
    save_file({name: torch.zeros(4, 4, 3, 3) for name in names}, file)
    sentence = (
        f"{file}: holds a VAE in diffusers' layout, whose sizes are in its config.json; "
        "give the folder that holds both, or a file in the original layout"
    )
    assert check_problems(bench, vae=str(file)) == (sentence,)
    base = BaseModel(Model(checkpoint=bench.materials / "sd1.safetensors", vae=file))
    with pytest.raises(InputError) as caught:
        base.vae(torch.float32)
    assert str(caught.value) == sentence


def test_another_models_vae_is_refused(bench: Workbench) -> None:
    file = bench.folder / "ae.safetensors"
    state = load_file(bench.materials / "sd1.safetensors")
    own = {name.removeprefix(VAE): value for name, value in state.items() if name.startswith(VAE)}
    wide = own["decoder.conv_in.weight"].repeat(1, 4, 1, 1)
    save_file(own | {"decoder.conv_in.weight": wide}, file)
    assert "its latents have 16 channels instead of 4" in check_problems(bench, vae=str(file))[0]
