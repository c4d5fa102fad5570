"""Module names in LoRA files as kohya's sd-scripts writes them, the only names that every program supports."""

import re
from collections.abc import Hashable, Mapping

from training.errors import InputError
from training.lora.lorafile import LoraFile
from training.sections.model import Family

_RESNET = {
    "norm1": "in_layers_0",
    "conv1": "in_layers_2",
    "time_emb_proj": "emb_layers_1",
    "norm2": "out_layers_0",
    "conv2": "out_layers_3",
    "conv_shortcut": "skip_connection",
}
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_SDXL = re.compile(
    r"lora_unet_(?=down_blocks_[0-2]_(?:resnets|attentions)_[01]_|down_blocks_[01]_downsamplers_0_"
    r"|up_blocks_[0-2]_(?:resnets|attentions)_[0-2]_|up_blocks_[01]_upsamplers_0_"
    r"|mid_block_(?:resnets_[01]|attentions_0)_)"
    r"((?:down|up)_blocks_[0-2]|mid_block)_([a-z]+)_([0-2])_(.+)"
)
"""Flat diffusers' names of the layers that SDXL has."""
SDXL_LAYERS, SDXL_ATTENDING = 2, (True, True, False)
"""Layers of a block of SDXL's UNet, and which of its up blocks have attention."""
_MID = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)")


def unet_module_name(path: str, family: Family, layers_per_block: int, attending: tuple[bool, ...]) -> str:
    """The name of the UNet module at `path` (diffusers' naming).

    SD 1 and 2 keep diffusers' path; SDXL uses the original layout, which depends on the number of layers per block and
    on which up blocks have attention (`attending`).
    """
    if family == "sdxl":
        path = _original(path, layers_per_block, attending)
    return "lora_unet_" + path.replace(".", "_")


def text_module_name(path: str, family: Family, index: int) -> str:
    """The name of a module of text encoder `index`, whose class may or may not wrap it in text_model."""
    prefix = f"lora_te{index + 1}_" if family == "sdxl" else "lora_te_"
    return f"{prefix}text_model_" + path.removeprefix("text_model.").replace(".", "_")


def with_usual_names(file: LoraFile, family: Family | None) -> LoraFile:
    """The file with kohya's names, where another trainer's differ: two names of a layer would count as two layers.

    SDXL's layers may be named by diffusers' paths, and the only text encoder of SD 1 and 2 with a number.
    Raises InputError if the file has a layer under both names.
    """
    if family is None:
        return file
    names = {name: _usual(name, family) for name in file.modules()}
    refuse_two_names(names)
    tensors = {
        names[name] + dot + part: tensor
        for key, tensor in file.tensors.items()
        for name, dot, part in [key.partition(".")]
    }
    return LoraFile(tensors, file.metadata)


def refuse_two_names(layers: Mapping[str, Hashable]) -> None:
    """Raise InputError if two modules of one file, the keys, are of one layer: programs differ in which they apply."""
    first: dict[Hashable, str] = {}
    for name, layer in layers.items():
        if (other := first.setdefault(layer, name)) != name:
            raise InputError(f"{other} and {name} are two names of one layer; remove one of the two from the file")


def only_encoder(name: str) -> str:
    """The name without a number after te: some trainers number the one text encoder of SD 1 and 2."""
    return name.replace("lora_te1_", "lora_te_", 1)


def _usual(name: str, family: Family) -> str:
    if family != "sdxl":
        return only_encoder(name)
    match = _SDXL.fullmatch(name)
    if not match:
        return name
    block, kind, number, rest = match[1].replace("blocks_", "blocks."), match[2], match[3], match[4]
    path = _original(f"{block}.{kind}.{number}.{rest}", SDXL_LAYERS, SDXL_ATTENDING)
    return "lora_unet_" + path.replace(".", "_")


def _original(path: str, layers: int, attending: tuple[bool, ...]) -> str:
    if match := _MID.fullmatch(path):
        kind, number, rest = match[1], int(match[2]), match[3]
        place = 1 if kind == "attentions" else 2 * number
        return f"middle_block.{place}.{_RESNET.get(rest, rest)}"
    match = _BLOCK.fullmatch(path)
    if not match:
        return path
    side, block, kind, layer, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    stem = "input_blocks" if side == "down" else "output_blocks"
    first = block * (layers + 1) + (side == "down")
    if kind == "resnets":
        return f"{stem}.{first + layer}.0.{_RESNET.get(rest, rest)}"
    if kind == "attentions":
        return f"{stem}.{first + layer}.1.{rest}"
    if kind == "downsamplers":
        return f"{stem}.{first + layers}.0.op"
    return f"{stem}.{first + layers}.{2 if attending[block] else 1}.conv"
