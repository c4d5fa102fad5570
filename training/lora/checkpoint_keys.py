"""Maps the modules of LoRA files to the tensors of single-file checkpoints.

SD 1 and 2 LoRA files name UNet layers by diffusers' paths, SDXL files by the checkpoint's own; text encoders are named
by transformers' paths, also where the checkpoint holds OpenCLIP's fused ones.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from training.base import keys
from training.base.keys import UNET
from training.sections.model import Family

Layer = Literal["attention", "convolution", "pointwise", "text", "other"]

CLIP = {
    keys.CLIP: "lora_te_text_model_",
    keys.OLD_CLIP: "lora_te_text_model_",
    keys.XL_CLIP: "lora_te1_text_model_",
}
OPEN_CLIP = {
    f"{keys.OPEN_CLIP}transformer.resblocks.": "lora_te_text_model_encoder_layers_",
    f"{keys.XL_OPEN_CLIP}transformer.resblocks.": "lora_te2_text_model_encoder_layers_",
}

_DOWNSAMPLER = re.compile(re.escape(UNET) + r"input_blocks\.([1-9][0-9]{0,2})\.0\.op\.weight")
_RESNET = {
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_TEXT_LINEAR = re.compile(r"encoder\.layers\.\d+\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])")
_RESBLOCK = {
    "attn.out_proj": "self_attn_out_proj",
    "mlp.c_fc": "mlp_fc1",
    "mlp.c_proj": "mlp_fc2",
}


@dataclass(frozen=True)
class Target:
    """A checkpoint layer that a LoRA module can apply to."""

    module: str
    """The module's name in LoRA files."""
    key: str
    """The checkpoint's tensor."""
    third: int | None = None
    """Which third of a fused query-key-value weight it is, None for a whole tensor."""
    layer: Layer = "other"


def lora_targets(shapes: dict[str, tuple[int, ...]], kind: Family) -> list[Target]:
    """Every layer that a LoRA module can apply to, in the checkpoint's order.

    `shapes` holds the shape of every tensor of the checkpoint by its key.
    """
    per_level = _layers_per_level(shapes)
    found: list[Target] = []
    for key, shape in shapes.items():
        if len(shape) not in (2, 4):
            continue
        if key.startswith(UNET) and key.endswith(".weight"):
            found.extend(_unet_place(key, shape, kind, per_level))
        else:
            found.extend(_text_places(key))
    return found


def diffusers_path(path: str, per_level: int) -> str:
    """The diffusers path of a UNet layer, from the original layout's, e.g. input_blocks.1.1.proj_in.

    `per_level` is the number of residual blocks per level (2 in all released models).
    """
    match = re.fullmatch(r"(input|output|middle)_blocks?\.([0-9]{1,3})\.?([0-9]*)\.?(.*)", path)
    if not match:
        return path
    side, first, second, rest = match[1], int(match[2]), match[3], match[4]
    if side == "middle":
        whole = path.removeprefix(f"middle_block.{first}.")
        if first == 1:
            return f"mid_block.attentions.0.{whole}"
        return f"mid_block.resnets.{first // 2}.{_RESNET.get(whole, whole)}"
    index = first - 1 if side == "input" else first
    block, layer = divmod(index, per_level + 1)
    stem = f"{'down' if side == 'input' else 'up'}_blocks.{block}"
    if side == "input" and index < 0:
        return "conv_in"
    if rest == "op":
        return f"{stem}.downsamplers.0.conv"
    if rest == "conv" and second in "12":
        return f"{stem}.upsamplers.0.conv"
    if second == "0":
        return f"{stem}.resnets.{layer}.{_RESNET.get(rest, rest)}"
    return f"{stem}.attentions.{layer}.{rest}"


def _unet_place(key: str, shape: tuple[int, ...], kind: Family, per_level: int) -> Iterator[Target]:
    path = key.removeprefix(UNET).removesuffix(".weight")
    if not path.startswith(("input_blocks.", "middle_block.", "output_blocks.")) or path == "input_blocks.0.0":
        return
    name = path if kind == "sdxl" else diffusers_path(path, per_level)
    owner: Layer = "pointwise"
    if len(shape) == 4 and shape[2:] != (1, 1):
        owner = "convolution"
    elif "transformer_blocks." in path or path.endswith(("proj_in", "proj_out")):
        owner = "attention"
    yield Target("lora_unet_" + name.replace(".", "_"), key, layer=owner)


def _text_places(key: str) -> Iterator[Target]:
    for prefix, name in CLIP.items():
        path = key.removeprefix(prefix).removesuffix(".weight")
        if key.startswith(prefix) and key.endswith(".weight") and _TEXT_LINEAR.fullmatch(path):
            yield Target(name + path.replace(".", "_"), key, layer="text")
    for prefix, name in OPEN_CLIP.items():
        if not key.startswith(prefix):
            continue
        number, _, part = key.removeprefix(prefix).partition(".")
        if part == "attn.in_proj_weight":
            for third, letter in enumerate("qkv"):
                yield Target(f"{name}{number}_self_attn_{letter}_proj", key, third, "text")
        elif part.endswith(".weight") and part.removesuffix(".weight") in _RESBLOCK:
            yield Target(f"{name}{number}_{_RESBLOCK[part.removesuffix('.weight')]}", key, layer="text")


def _layers_per_level(shapes: Iterable[str]) -> int:
    """Residual blocks per level: those before the first downsampler."""
    downs = [int(match[1]) for key in shapes if (match := _DOWNSAMPLER.fullmatch(key))]
    return min(downs) - 1 if downs else 2
