"""Which layer of a checkpoint a LoRA module belongs to, checked against diffusers' own conversion."""

from typing import Any

import pytest
import torch

from tests.training.checkpoints import LEVELS, checkpoint, unet_shapes
from training.base.keys import UNET, family_of_keys
from training.lora.checkpoint_keys import diffusers_path, lora_targets

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
def test_unet_paths_are_those_of_diffusers(kind: str) -> None:
    from diffusers.loaders import single_file_utils

    shapes = unet_shapes(kind)
    marked = {f"{UNET}{key}": torch.tensor(float(number)) for number, key in enumerate(shapes)}
    config: dict[str, Any] = {"layers_per_block": 2, "class_embed_type": None, "addition_embed_type": None}
    extras = ("time_embed.0", "time_embed.2", "input_blocks.0.0", "out.0", "out.2")
    biases = {key.replace(".weight", ".bias"): torch.tensor(-1.0) for key in marked}
    filled = (
        biases | marked | {f"{UNET}{name}.{end}": torch.tensor(-1.0) for name in extras for end in ("weight", "bias")}
    )
    config |= {"down_block_types": [None] * len(LEVELS[kind]), "up_block_types": [None] * len(LEVELS[kind])}
    convert: Any = single_file_utils.convert_ldm_unet_checkpoint
    converted = convert(dict(filled), config)
    theirs = {float(value): key for key, value in converted.items() if float(value) >= 0}
    for number, (key, shape) in enumerate(shapes.items()):
        if len(shape) > 1 and not key.startswith("input_blocks.0."):
            path = diffusers_path(key.removesuffix(".weight"), per_level=2)
            assert f"{path}.weight" == theirs[float(number)], key


NAMES = {
    "sd1": {
        "lora_unet_down_blocks_0_attentions_0_proj_in": "input_blocks.1.1.proj_in",
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q": (
            "middle_block.1.transformer_blocks.0.attn1.to_q"
        ),
        "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_ff_net_0_proj": (
            "output_blocks.11.1.transformer_blocks.0.ff.net.0.proj"
        ),
        "lora_unet_up_blocks_0_upsamplers_0_conv": "output_blocks.2.1.conv",
        "lora_unet_down_blocks_2_resnets_1_time_emb_proj": "input_blocks.8.0.emb_layers.1",
    },
    "sdxl": {
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q": (
            "input_blocks.4.1.transformer_blocks.0.attn1.to_q"
        ),
        "lora_unet_middle_block_1_proj_in": "middle_block.1.proj_in",
        "lora_unet_output_blocks_2_2_conv": "output_blocks.2.2.conv",
    },
}


@pytest.mark.parametrize(("kind", "module"), [(kind, module) for kind in NAMES for module in NAMES[kind]])
def test_names_of_unet_modules(kind: str, module: str) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint(kind).items()}
    found = {place.module: place.key for place in lora_targets(shapes, family_of_keys(shapes) or "sd1")}
    assert found[module] == f"{UNET}{NAMES[kind][module]}.weight"


@pytest.mark.parametrize(
    ("kind", "module", "key", "third"),
    [
        (
            "sd1",
            "lora_te_text_model_encoder_layers_1_mlp_fc2",
            "cond_stage_model.transformer.text_model.encoder.layers.1.mlp.fc2.weight",
            None,
        ),
        (
            "sd2",
            "lora_te_text_model_encoder_layers_0_self_attn_k_proj",
            "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight",
            1,
        ),
        (
            "sdxl",
            "lora_te1_text_model_encoder_layers_0_self_attn_q_proj",
            "conditioner.embedders.0.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight",
            None,
        ),
        (
            "sdxl",
            "lora_te2_text_model_encoder_layers_1_mlp_fc1",
            "conditioner.embedders.1.model.transformer.resblocks.1.mlp.c_fc.weight",
            None,
        ),
    ],
)
def test_names_of_text_modules(kind: str, module: str, key: str, third: int | None) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint(kind).items()}
    found = {place.module: place for place in lora_targets(shapes, family_of_keys(shapes) or "sd1")}
    assert (found[module].key, found[module].third) == (key, third)


def test_the_older_names_of_sd1s_text_encoder_are_the_same_modules() -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint("sd1").items()}
    older = {name.replace(".transformer.text_model.", ".transformer."): shape for name, shape in shapes.items()}
    assert older.keys() != shapes.keys() and family_of_keys(older) == "sd1"
    assert {place.module for place in lora_targets(older, "sd1")} == {
        place.module for place in lora_targets(shapes, "sd1")
    }


@pytest.mark.parametrize("kind", ["sd1", "sd2", "sdxl"])
def test_the_family_of_a_checkpoint(kind: str) -> None:
    assert family_of_keys(checkpoint(kind)) == kind
    assert family_of_keys(["lora_unet_x.alpha"]) is None
