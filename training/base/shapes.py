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

IS_REFINER = "is an SDXL refiner, which LoRAs are not trained for; train on the SDXL base model"
MOST = 1_000_000
"""Above any number in a configuration; a vocabulary has 49408 words."""


def refuse_channels(channels: object) -> None:
    """Raises InputError if a UNet with this number of input channels is of a kind that cannot be trained."""
    kind = {8: "an instruct-pix2pix model", 9: "an inpainting model"}.get(channels) if type(channels) is int else None
    if kind:
        raise InputError(
            f"is {kind}, whose UNet takes {channels} channels instead of 4; "
            "train on the base model that it was made from"
        )


def family_of_shapes(shapes: Shapes) -> Family:
    """The family of an original-layout checkpoint. Raises InputError if it cannot be trained."""
    first = shapes.get(f"{UNET}input_blocks.0.0.weight")
    if first is None:
        other = next((what for start, what in OTHER_MODELS if any(name.startswith(start) for name in shapes)), None)
        if other:
            raise InputError(f"is {other}; model.checkpoint must be a whole SD 1.5, SD 2 or SDXL checkpoint")
        raise InputError("holds no UNet in the original layout (no tensor model.diffusion_model.*)")
    if len(first) == 4:
        refuse_channels(first[1])
    if found := keys.family_of_keys(shapes):
        return found
    if any(name.startswith(keys.REFINER) for name in shapes):
        raise InputError(IS_REFINER)
    raise InputError("holds a UNet but no text encoder of SD 1, SD 2 or SDXL")


class _Shapes:
    """The tensors of one part, by their names without its prefix. What they lack is a ValueError with the full name."""

    def __init__(self, shapes: Shapes, prefix: str) -> None:
        self.prefix = prefix
        self.own = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}

    def __contains__(self, name: str) -> bool:
        return name in self.own

    def side(self, name: str, axis: int) -> int:
        """The length of a tensor along an axis."""
        shape = self.own.get(name)
        if shape is None:
            raise ValueError(f"no tensor {self.prefix}{name}")
        if axis >= len(shape) or not 1 <= shape[axis] <= MOST:
            raise ValueError(f"{self.prefix}{name} has the shape {list(shape)}")
        return shape[axis]

    def numbers(self, stem: str) -> list[int]:
        """The numbers after `stem` in the names, sorted."""
        found = {name: name.removeprefix(stem).split(".")[0] for name in self.own if name.startswith(stem)}
        for name, number in found.items():
            if not (number.isascii() and number.isdecimal() and len(number) < 4):
                raise ValueError(f"a tensor is called {self.prefix}{name}")
        return sorted({int(number) for number in found.values()})

    def count(self, stem: str) -> int:
        """How many numbers follow `stem`."""
        found = self.numbers(stem)
        if not found:
            raise ValueError(f"no tensor {self.prefix}{stem}*")
        return len(found)


def unet_config(shapes: Shapes, kind: Family) -> dict[str, Any]:
    """UNet2DConditionModel's configuration. Raises ValueError if the shapes do not show one."""
    part = _Shapes(shapes, UNET)
    count = 1 + max(part.numbers("input_blocks."), default=0)
    downs = [i for i in range(1, count) if f"input_blocks.{i}.0.op.weight" in part]
    per_level = (downs[0] if downs else count) - 1
    if per_level < 1:
        raise ValueError(f"no tensor {UNET}input_blocks.1.0.out_layers.3.weight")
    first = range(1, count, per_level + 1)
    channels = [part.side(f"input_blocks.{i}.0.out_layers.3.weight", 0) for i in first]
    depths = [len(part.numbers(f"input_blocks.{i}.1.transformer_blocks.")) for i in first]
    attending = next((name for name in part.own if name.endswith("attn2.to_k.weight")), None)
    linear = any(name.endswith("1.proj_in.weight") and len(shape) == 2 for name, shape in part.own.items())
    heads: int | list[int] = 8 if kind == "sd1" else [max(1, width // 64) for width in channels]
    if (taken := part.side("input_blocks.0.0.weight", 1)) != 4:
        raise ValueError(f"it takes {taken} channels instead of 4")
    config: dict[str, Any] = {
        "in_channels": 4,
        "out_channels": part.side("out.2.weight", 0),
        "block_out_channels": channels,
        "layers_per_block": per_level,
        "cross_attention_dim": part.side(attending, 1) if attending else channels[-1],
        "attention_head_dim": heads,
        "use_linear_projection": linear,
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
        "transformer_layers_per_block": [depth or part.count("middle_block.1.transformer_blocks.") for depth in depths],
    }
    if kind == "sdxl":
        added, pooled = part.side("label_emb.0.0.weight", 1), _Shapes(shapes, XL_OPEN_CLIP).side("text_projection", 1)
        if added < pooled + 6:
            raise ValueError(
                f"{UNET}label_emb.0.0.weight takes {added} numbers, the second text encoder gives {pooled}"
            )
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": (added - pooled) // 6,
            "projection_class_embeddings_input_dim": added,
        }
    return config


def vae_config(shapes: Shapes, prefix: str, scaling: float) -> dict[str, Any]:
    """AutoencoderKL's configuration; `prefix` of its tensors is "" in a file of its own.

    Raises InputError, without the file's name, if there is no VAE of this layout; ValueError if it is incomplete.
    """
    part = _Shapes(shapes, prefix)
    if any(name.startswith(("encoder.down_blocks.", "decoder.up_blocks.")) for name in part.own):
        raise InputError(
            "holds a VAE in diffusers' layout, whose sizes are in its config.json; "
            "give the folder that holds both, or a file in the original layout"
        )
    if "encoder.conv_in.weight" not in part:
        raise InputError("holds no VAE in the original layout (no tensor encoder.conv_in.weight)")
    if (channels := part.side("decoder.conv_in.weight", 1)) != 4:
        raise ValueError(f"its latents have {channels} channels instead of 4: it is of another kind of model")
    levels = range(part.count("encoder.down."))
    return {
        "in_channels": part.side("encoder.conv_in.weight", 1),
        "out_channels": part.side("decoder.conv_out.weight", 0),
        "block_out_channels": [part.side(f"encoder.down.{level}.block.0.conv1.weight", 0) for level in levels],
        "layers_per_block": part.count("encoder.down.0.block."),
        "latent_channels": 4,
        "down_block_types": ["DownEncoderBlock2D"] * len(levels),
        "up_block_types": ["UpDecoderBlock2D"] * len(levels),
        "scaling_factor": scaling,
    }


def clip_config(shapes: Shapes, prefix: str) -> dict[str, Any]:
    """CLIPTextConfig for a text encoder in transformers' layout (SD 1; SDXL's first). Raises ValueError."""
    part = _Shapes(shapes, prefix)
    return _text(
        part.side("embeddings.token_embedding.weight", 0),
        part.side("embeddings.token_embedding.weight", 1),
        layers=part.count("encoder.layers."),
        inner=part.side("encoder.layers.0.mlp.fc1.weight", 0),
        positions=part.side("embeddings.position_embedding.weight", 0),
        act="quick_gelu",
    )


def open_clip_config(shapes: Shapes, prefix: str, drop_last: bool) -> dict[str, Any]:
    """CLIPTextConfig for a text encoder in OpenCLIP's layout (SD 2, which never uses its last layer; SDXL's second).

    Raises ValueError if the shapes do not show one.
    """
    part = _Shapes(shapes, prefix)
    layers = part.count("transformer.resblocks.") - drop_last
    if not layers:
        raise ValueError(f"no tensor {prefix}transformer.resblocks.1.*")
    config = _text(
        part.side("token_embedding.weight", 0),
        part.side("token_embedding.weight", 1),
        layers=layers,
        inner=part.side("transformer.resblocks.0.mlp.c_fc.weight", 0),
        positions=part.side("positional_embedding", 0),
        act="gelu",
    )
    if "text_projection" in part:
        config["projection_dim"] = part.side("text_projection", 1)
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
