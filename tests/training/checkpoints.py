"""Tiny checkpoints in the original layout with random weights, as large as their names need."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

CHANNELS, CONTEXT, TEXT = 8, 12, 16
LEVELS = {"sd1": (True, True, True, False), "sd2": (True, True, True, False), "sdxl": (False, True, True)}
"""Which levels of the UNet have attention, from the outermost."""


def checkpoint(family: str, seed: int = 0) -> dict[str, Tensor]:
    """All of a checkpoint that LoRA files can change, and a VAE tensor."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {f"model.diffusion_model.{key}": shape for key, shape in unet_shapes(family).items()}
    shapes |= _text(family) | {"first_stage_model.decoder.conv_in.weight": (CHANNELS, 4, 3, 3)}
    return {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}


def save(path: Path, tensors: dict[str, Tensor]) -> Path:
    """Write a checkpoint file."""
    save_file(tensors, path)
    return path


def unet_shapes(family: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the UNet's tensors by their names in the original layout."""
    linear = family != "sd1"
    attending = LEVELS[family]
    found: dict[str, tuple[int, ...]] = {"input_blocks.0.0.weight": (CHANNELS, 4, 3, 3)}
    index = 1
    for level, attends in enumerate(attending):
        for _ in range(2):
            found |= _resnet(f"input_blocks.{index}.0", CHANNELS)
            found |= _attention(f"input_blocks.{index}.1", linear) if attends else {}
            index += 1
        if level < len(attending) - 1:
            found |= {f"input_blocks.{index}.0.op.weight": (CHANNELS, CHANNELS, 3, 3)}
            index += 1
    found |= _resnet("middle_block.0", CHANNELS) | _attention("middle_block.1", linear)
    found |= _resnet("middle_block.2", CHANNELS)
    for level, attends in enumerate(reversed(attending)):
        for layer in range(3):
            index = 3 * level + layer
            found |= _resnet(f"output_blocks.{index}.0", 2 * CHANNELS)
            found |= _attention(f"output_blocks.{index}.1", linear) if attends else {}
            if layer == 2 and level < len(attending) - 1:
                place = 2 if attends else 1
                found |= {f"output_blocks.{index}.{place}.conv.weight": (CHANNELS, CHANNELS, 3, 3)}
    return found


def _resnet(path: str, width: int) -> dict[str, tuple[int, ...]]:
    found = {
        f"{path}.in_layers.0.weight": (width,),
        f"{path}.in_layers.2.weight": (CHANNELS, width, 3, 3),
        f"{path}.emb_layers.1.weight": (CHANNELS, 32),
        f"{path}.out_layers.0.weight": (CHANNELS,),
        f"{path}.out_layers.3.weight": (CHANNELS, CHANNELS, 3, 3),
    }
    return found | ({f"{path}.skip_connection.weight": (CHANNELS, width, 1, 1)} if width != CHANNELS else {})


def _attention(path: str, linear: bool) -> dict[str, tuple[int, ...]]:
    project = (CHANNELS, CHANNELS) if linear else (CHANNELS, CHANNELS, 1, 1)
    block = f"{path}.transformer_blocks.0"
    found: dict[str, tuple[int, ...]] = {f"{path}.norm.weight": (CHANNELS,)}
    found |= {f"{path}.proj_in.weight": project, f"{path}.proj_out.weight": project}
    for attention, width in (("attn1", CHANNELS), ("attn2", CONTEXT)):
        found |= {
            f"{block}.{attention}.to_q.weight": (CHANNELS, CHANNELS),
            f"{block}.{attention}.to_k.weight": (CHANNELS, width),
            f"{block}.{attention}.to_v.weight": (CHANNELS, width),
            f"{block}.{attention}.to_out.0.weight": (CHANNELS, CHANNELS),
        }
    found |= {f"{block}.ff.net.0.proj.weight": (8 * CHANNELS, CHANNELS)}
    return found | {f"{block}.ff.net.2.weight": (CHANNELS, 4 * CHANNELS)}


def _text(family: str) -> dict[str, tuple[int, ...]]:
    clip, open_clip = {
        "sd1": ("cond_stage_model.transformer.text_model", None),
        "sd2": (None, "cond_stage_model.model"),
        "sdxl": ("conditioner.embedders.0.transformer.text_model", "conditioner.embedders.1.model"),
    }[family]
    found: dict[str, tuple[int, ...]] = {}
    for layer in range(2):
        if clip:
            stem = f"{clip}.encoder.layers.{layer}"
            found |= {f"{stem}.self_attn.{name}_proj.weight": (TEXT, TEXT) for name in ("q", "k", "v", "out")}
            found |= {f"{stem}.mlp.fc1.weight": (4 * TEXT, TEXT), f"{stem}.mlp.fc2.weight": (TEXT, 4 * TEXT)}
        if open_clip:
            stem = f"{open_clip}.transformer.resblocks.{layer}"
            found |= {f"{stem}.attn.in_proj_weight": (3 * TEXT, TEXT), f"{stem}.attn.out_proj.weight": (TEXT, TEXT)}
            found |= {f"{stem}.mlp.c_fc.weight": (4 * TEXT, TEXT), f"{stem}.mlp.c_proj.weight": (TEXT, 4 * TEXT)}
    return found
