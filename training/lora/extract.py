"""The difference of two checkpoints as a LoRA file."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.base.files import TensorFile
from training.base.keys import family_of_keys
from training.base.parts import refuse_quantised
from training.errors import InputError
from training.lora import lorafile, validity
from training.lora.checkpoint_keys import Layer, Target, lora_targets
from training.lora.lorafile import LoraFile
from training.lora.metadata import ModelSpec, minimum
from training.lora.resize import uniform
from training.lora.svd import Truncation, truncated_svd
from training.sections.model import Family

SAME = 1e-7
"""Largest change of a weight that counts as none."""


@dataclass(frozen=True)
class Extracted:
    """The LoRA, and how much of the difference it holds."""

    file: LoraFile
    kept: float
    """Mean share of the squared norm of the layers' differences that the LoRA holds."""
    same: int
    """Layers that do not differ, and so have no module."""


def extract(
    base: LoraFile, tuned: LoraFile, cut: Truncation, conv_cut: Truncation | None = None, title: str = "LoRA"
) -> Extracted:
    """A LoRA that turns `base` into `tuned`, as closely as the truncation allows.

    Both are whole checkpoints in the original layout. Layers are kohya's default targets; `conv_cut` adds those of
    residual blocks and samplers. Raises InputError if the two are not of one family and size.
    """
    kind = family_of_keys(base.tensors)
    if kind is None or family_of_keys(tuned.tensors) != kind:
        raise InputError("both must be single-file checkpoints of the same family (SD 1.5, SD 2 or SDXL)")
    before, after = _targets(base, kind), _targets(tuned, kind)
    cuts: dict[Layer, Truncation | None] = {"attention": cut, "text": cut, "pointwise": conv_cut and cut}
    cuts["convolution"] = conv_cut
    tensors: dict[str, Tensor] = {}
    kept, same = [], 0
    for name, place in (after | before).items():
        limit = cuts.get(place.layer)
        if limit is None:
            continue
        difference = _difference(name, _weight(base, before.get(name)), _weight(tuned, after.get(name)))
        if float(difference.abs().max()) <= SAME:
            same += 1
            continue
        try:
            cutting = truncated_svd(difference.flatten(1), tuple(difference.shape[1:]), limit)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        kept.append(cutting.kept)
        tensors |= {f"{name}.{part}": tensor for part, tensor in cutting.parts.items()}
    if not kept:
        raise InputError("the two checkpoints do not differ in any layer that a LoRA can hold")
    dims = [len(tensor) for key, tensor in tensors.items() if key.endswith(".lora_down.weight")]
    metadata = minimum(kind, False, "networks.lora", uniform(dims), uniform(float(dim) for dim in dims))
    return Extracted(LoraFile(tensors, metadata | ModelSpec(kind, title).entries()), sum(kept) / len(kept), same)


def extract_file(
    base: Path,
    tuned: Path,
    target: Path,
    cut: Truncation,
    conv_cut: Truncation | None = None,
    precision: torch.dtype | None = None,
) -> Extracted:
    """Write the difference of two checkpoint files to `target` (default precision: fp16)."""
    before, after = lorafile.read_safetensors(base), lorafile.read_safetensors(tuned)
    for file in (base, tuned):
        try:
            refuse_quantised(TensorFile(file))
        except InputError as error:
            raise InputError(f"{file}: {error}") from error
    try:
        found = extract(before, after, cut, conv_cut, target.stem)
    except InputError as error:
        raise InputError(f"{tuned} - {base}: {error}") from error
    tensors = lorafile.cast_tensors(found.file.tensors, precision or torch.float16)
    lorafile.write_lora(target, tensors, found.file.metadata, validity.check_written)
    return found


def _targets(checkpoint: LoraFile, kind: Family) -> dict[str, Target]:
    """The layers that a LoRA can change, by the names of their modules: those of tensors differ between layouts."""
    shapes = {key: tuple(tensor.shape) for key, tensor in checkpoint.tensors.items()}
    return {place.module: place for place in lora_targets(shapes, kind)}


def _weight(checkpoint: LoraFile, place: Target | None) -> Tensor | None:
    if place is None:
        return None
    weight = checkpoint.tensors[place.key]
    return weight if place.third is None else weight.chunk(3)[place.third]


def _difference(name: str, old: Tensor | None, new: Tensor | None) -> Tensor:
    if old is None or new is None:
        raise InputError(f"only one of the two has the layer {name}; the other is incomplete or another model")
    if new.shape != old.shape:
        raise InputError(
            f"the layer {name} is {_size(old)} in the first and {_size(new)} in the second; they are different models"
        )
    difference = new.float() - old.float()
    if not difference.isfinite().all():
        raise InputError(f"the layer {name} holds NaN or infinity in one of the two")
    return difference


def _size(weight: Tensor) -> str:
    return "x".join(map(str, weight.shape))
