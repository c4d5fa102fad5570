"""The configurations of a single file's UNet, VAE and text encoders, and errors for parts that do not fit. No torch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.base import keys, shapes
from training.base.files import TensorFile
from training.errors import InputError
from training.sections.model import Family

SCALING: dict[Family, float] = {"sd1": 0.18215, "sd2": 0.18215, "sdxl": 0.13025}
"""Scaling factor of latents, unless the VAE's own settings have one."""


@contextmanager
def fitting(path: Path, part: str) -> Iterator[None]:
    """Derive or convert a part of the file `path` within it: what fails there for its names and shapes is InputError.

    diffusers' converters raise whatever a missing or misshapen tensor leads to, hence the list.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError) as error:
        why = f"no tensor {error.args[0]}" if isinstance(error, KeyError) and error.args else str(error)
        raise InputError(
            f"{path}: its {part} is incomplete or of another layout ({why}); "
            "download the file again, or use another one"
        ) from error


FLOATS = frozenset(("F16", "BF16", "F32", "F64", "F8_E4M3", "F8_E5M2"))
SCALES = (".scale_weight", ".weight_scale", ".comfy_quant")
"""Endings of the tensors by which other programs multiply fp8 weights."""


def refuse_quantised(source: TensorFile, prefix: str | tuple[str, ...] = "") -> None:
    """Raises InputError if weights are stored in numbers that only the program that made them can turn back."""
    for name, form in source.header.formats.items():
        scaled = name.endswith(SCALES)
        if name.startswith(prefix) and (scaled or (name.endswith(".weight") and form not in FLOATS)):
            raise InputError(
                f"its weights are quantised ({name}{'' if scaled else f' is {form}'}), which is not read here; "
                "take the file in fp16, bf16 or fp32"
            )


@dataclass(frozen=True)
class Part:
    """A part of a file: its tensors' prefix and its model's configuration."""

    prefix: str
    config: dict[str, Any]


@dataclass(frozen=True)
class TextEncoder(Part):
    open_clip: bool
    """Of OpenCLIP's layout instead of transformers'."""


def unet(source: TensorFile, kind: Family) -> Part:
    """Raises InputError with the file's name if its UNet is incomplete or of another layout."""
    with fitting(source.path, "UNet"):
        refuse_quantised(source, keys.UNET)
        return Part(keys.UNET, shapes.unet_config(source.shapes, kind))


def vae(source: TensorFile, kind: Family) -> Part:
    """The VAE of a checkpoint, or of a file of its own. Raises InputError as `unet` does."""
    prefix = keys.VAE if any(name.startswith(keys.VAE) for name in source.shapes) else ""
    with fitting(source.path, "VAE"):
        refuse_quantised(source, prefix)
        return Part(prefix, shapes.vae_config(source.shapes, prefix, SCALING[kind]))


def text_encoders(source: TensorFile, kind: Family) -> list[TextEncoder]:
    """In the order in which their outputs are concatenated. Raises InputError as `unet` does."""
    with fitting(source.path, "text encoder"):
        refuse_quantised(source, (keys.OLD_CLIP, keys.OPEN_CLIP, keys.XL_CLIP, keys.XL_OPEN_CLIP))
        if kind == "sd2":
            config = shapes.open_clip_config(source.shapes, keys.OPEN_CLIP, drop_last=True)
            return [TextEncoder(keys.OPEN_CLIP, config, open_clip=True)]
        prefix = keys.CLIP if kind == "sd1" else keys.XL_CLIP
        if kind == "sd1" and not any(name.startswith(prefix) for name in source.shapes):
            prefix = keys.OLD_CLIP
        first = TextEncoder(prefix, shapes.clip_config(source.shapes, prefix), open_clip=False)
        if kind == "sd1":
            return [first]
        config = shapes.open_clip_config(source.shapes, keys.XL_OPEN_CLIP, drop_last=False)
        return [first, TextEncoder(keys.XL_OPEN_CLIP, config, open_clip=True)]
