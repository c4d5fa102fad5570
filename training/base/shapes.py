"""Configurations of diffusers and transformers models, inferred from the shapes of an original-layout checkpoint.

Sizes follow from the tensors, so small models of the same layout load like the real ones. What shapes do not show
(numbers of attention heads, activations) depends on the family: SD 1 has 8 heads per UNet attention, SD 2 and SDXL
have heads of 64 channels, CLIP's text encoders have heads of 64.
"""

from collections.abc import Mapping
from typing import Any

from training.base import keys
from training.base.keys import UNET, XL_OPEN_CLIP
from training.errors import InputError
from training.sections.model import Family

Shapes = Mapping[str, tuple[int, ...]]
OTHER_MODELS: tuple[tuple[str, str], ...] = (
    (f"{UNET}joint_blocks.", "a Stable Diffusion 3 model"),
    (f"{UNET}double_blocks.", "a Flux model"),
    ("double_blocks.", "a Flux model"),
    (f"{UNET}net.llm_adapter.", "an Anima model"),
    ("net.llm_adapter.", "an Anima model"),
    (f"{UNET}llm_adapter.", "an Anima model"),
    (f"{UNET}net.blocks.", "an Anima or Cosmos model"),
    ("net.blocks.", "an Anima or Cosmos model"),
    ("lora_unet_", "a LoRA"),
    ("lora_te", "a LoRA"),
    ("lycoris_", "a LoRA"),
    ("unet.", "a LoRA in diffusers' naming"),
    ("emb_params", "an embedding (textual inversion)"),
    ("string_to_param", "an embedding (textual inversion)"),
    ("clip_l", "an embedding (textual inversion) for SDXL"),
    ("clip_g", "an embedding (textual inversion) for SDXL"),
    ("control_model.", "a ControlNet"),
    ("encoder.conv_in.", "a VAE alone"),
    ("encoder.down.", "a VAE alone"),
    ("down_blocks.", "a UNet alone, in diffusers' layout"),
)
"""Prefixes of tensor names in files that are mistaken for a base model, and what the files are."""


def family_of_shapes(shapes: Shapes) -> Family:
    """The family of an original-layout checkpoint. Raises InputError if it cannot be trained."""
    first = shapes.get(f"{UNET}input_blocks.0.0.weight")
    if first is None:
        other = next((what for start, what in OTHER_MODELS if any(name.startswith(start) for name in shapes)), None)
        if other:
            raise InputError(f"is {other}; model.checkpoint must be a whole SD 1.5, SD 2 or SDXL checkpoint")
        raise InputError("holds no UNet in the original layout (no tensor model.diffusion_model.*)")
    kinds = {8: "an instruct-pix2pix model", 9: "an inpainting model"}
    if len(first) == 4 and first[1] in kinds:
        raise InputError(
            f"is {kinds[first[1]]}, whose UNet takes {first[1]} channels instead of 4; "
            "train on the base model that it was made from"
        )
    if found := keys.family_of_keys(shapes):
        return found
    if any(name.startswith(keys.REFINER) for name in shapes):
        raise InputError("is an SDXL refiner, which LoRAs are not trained for; train on the SDXL base model")
    raise InputError("holds a UNet but no text encoder of SD 1, SD 2 or SDXL")


def unet_config(shapes: Shapes, kind: Family) -> dict[str, Any]:
    """UNet2DConditionModel's configuration."""
    own = {name.removeprefix(UNET): shape for name, shape in shapes.items() if name.startswith(UNET)}
    count = 1 + max(int(name.split(".")[1]) for name in own if name.startswith("input_blocks."))
    downs = [i for i in range(count) if f"input_blocks.{i}.0.op.weight" in own]
    per_level = (downs[0] if downs else count) - 1
    first = range(1, count, per_level + 1)
    channels = [own[f"input_blocks.{i}.0.out_layers.3.weight"][0] for i in first]
    depths = [_depth(own, f"input_blocks.{i}.1") for i in first]
    cross = next((shape[1] for name, shape in own.items() if name.endswith("attn2.to_k.weight")), channels[-1])
    linear = any(name.endswith("1.proj_in.weight") and len(shape) == 2 for name, shape in own.items())
    heads: int | list[int] = 8 if kind == "sd1" else [max(1, width // 64) for width in channels]
    config: dict[str, Any] = {
        "in_channels": own["input_blocks.0.0.weight"][1],
        "out_channels": own["out.2.weight"][0],
        "block_out_channels": channels,
        "layers_per_block": per_level,
        "cross_attention_dim": cross,
        "attention_head_dim": heads,
        "use_linear_projection": linear,
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
        "transformer_layers_per_block": [depth or _depth(own, "middle_block.1") for depth in depths],
    }
    if kind == "sdxl":
        added, pooled = own["label_emb.0.0.weight"][1], shapes[f"{XL_OPEN_CLIP}text_projection"][1]
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": (added - pooled) // 6,
            "projection_class_embeddings_input_dim": added,
        }
    return config


def _depth(own: Shapes, block: str) -> int:
    """Transformer layers of an attention block."""
    stem = f"{block}.transformer_blocks."
    return len({name[len(stem) :].split(".")[0] for name in own if name.startswith(stem)})


def vae_config(shapes: Shapes, prefix: str, scaling: float) -> dict[str, Any]:
    """AutoencoderKL's configuration; `prefix` of its tensors is "" in a file of its own."""
    own = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
    if "encoder.conv_in.weight" not in own:
        raise InputError("holds no VAE in the original layout (no tensor encoder.conv_in.weight)")
    levels = sorted({int(name.split(".")[2]) for name in own if name.startswith("encoder.down.")})
    blocks = {name.split(".")[4] for name in own if name.startswith("encoder.down.0.block.")}
    return {
        "in_channels": own["encoder.conv_in.weight"][1],
        "out_channels": own["decoder.conv_out.weight"][0],
        "block_out_channels": [own[f"encoder.down.{level}.block.0.conv1.weight"][0] for level in levels],
        "layers_per_block": len(blocks),
        "latent_channels": own["decoder.conv_in.weight"][1],
        "down_block_types": ["DownEncoderBlock2D"] * len(levels),
        "up_block_types": ["UpDecoderBlock2D"] * len(levels),
        "scaling_factor": scaling,
    }


def clip_config(shapes: Shapes, prefix: str) -> dict[str, Any]:
    """CLIPTextConfig for a text encoder in transformers' layout (SD 1; SDXL's first)."""
    own = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
    layers = {name.split(".")[2] for name in own if name.startswith("encoder.layers.")}
    vocabulary, hidden = own["embeddings.token_embedding.weight"]
    return _text(
        vocabulary,
        hidden,
        layers=len(layers),
        inner=own["encoder.layers.0.mlp.fc1.weight"][0],
        positions=own["embeddings.position_embedding.weight"][0],
        act="quick_gelu",
    )


def open_clip_config(shapes: Shapes, prefix: str, drop_last: bool) -> dict[str, Any]:
    """CLIPTextConfig for a text encoder in OpenCLIP's layout (SD 2, which never uses its last layer; SDXL's second)."""
    own = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
    layers = {name.split(".")[2] for name in own if name.startswith("transformer.resblocks.")}
    vocabulary, hidden = own["token_embedding.weight"]
    config = _text(
        vocabulary,
        hidden,
        layers=len(layers) - drop_last,
        inner=own["transformer.resblocks.0.mlp.c_fc.weight"][0],
        positions=own["positional_embedding"][0],
        act="gelu",
    )
    if "text_projection" in own:
        config["projection_dim"] = own["text_projection"][1]
    return config


def _text(vocabulary: int, hidden: int, *, layers: int, inner: int, positions: int, act: str) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, hidden // 64),
        "max_position_embeddings": positions,
        "projection_dim": hidden,
        "hidden_act": act,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
    }
