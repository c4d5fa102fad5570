"""Lowers the rank of LoRA files."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from training.errors import InputError
from training.lora import lorafile, validity
from training.lora.deltas import BIAS, DORA, delta, low_rank, network_kind
from training.lora.lorafile import LoraFile
from training.lora.svd import Truncated, Truncation, truncate_factors, truncated_svd

CONVOLUTION = re.compile(r"_(conv[12]?|in_layers_2|out_layers_3|op)$")
"""Ends of the names of 3x3 convolutions."""


@dataclass(frozen=True)
class Resized:
    """The new file's content, and what each module kept."""

    file: LoraFile
    cuttings: dict[str, Truncated]

    @property
    def ranks(self) -> tuple[int, int]:
        """Lowest and highest new rank."""
        ranks = [cutting.rank for cutting in self.cuttings.values()]
        return min(ranks), max(ranks)

    @property
    def kept(self) -> float:
        """The mean share of the squared norm that modules kept."""
        return sum(cutting.kept for cutting in self.cuttings.values()) / len(self.cuttings)


def resize(source: LoraFile, cut: Truncation, conv_cut: Truncation | None = None) -> Resized:
    """Truncate every module of `source`; `conv_cut` applies to 3x3 convolutions (default: `cut`).

    LoHa and LoKr become LoRA.
    Raises InputError if the file holds no module that can be truncated.
    """
    tensors: dict[str, Tensor] = {}
    cuttings: dict[str, Truncated] = {}
    for name, parts in source.modules().items():
        try:
            cutting = _cut(parts, cut, conv_cut or cut, name)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        cuttings[name] = cutting
        kept = {part: parts[part] for part in (DORA,) if part in parts}
        tensors |= {f"{name}.{part}": tensor for part, tensor in (cutting.parts | kept).items()}
    if not cuttings:
        raise InputError("holds no LoRA module")
    return Resized(LoraFile(tensors, _metadata(source, cuttings, cut)), cuttings)


def resize_file(
    source: Path,
    target: Path,
    cut: Truncation,
    conv_cut: Truncation | None = None,
    precision: torch.dtype | None = None,
) -> Resized:
    """Write `source` at a lower rank to `target`, in `precision` (default: as it was)."""
    loaded = validity.read_valid(source)
    try:
        found = resize(loaded, cut, conv_cut)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    tensors = lorafile.cast_tensors(found.file.tensors, precision or precision_of(loaded))
    lorafile.write_lora(target, tensors, found.file.metadata, validity.check_written)
    return found


def precision_of(file: LoraFile) -> torch.dtype:
    """The number format of most weights; fp16 for formats that no program computes in."""
    sizes: dict[torch.dtype, int] = {}
    for tensor in file.tensors.values():
        if tensor.is_floating_point():
            sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.numel()
    found = max(sizes, key=lambda dtype: sizes[dtype], default=torch.float32)
    return found if found.itemsize > 1 else torch.float16


def uniform(values: Iterable[float]) -> str:
    """The value that all modules share, or "Dynamic", as kohya's tools write it."""
    found = set(values)
    return str(found.pop()) if len(found) == 1 else "Dynamic"


def _cut(parts: dict[str, Tensor], cut: Truncation, conv_cut: Truncation, name: str) -> Truncated:
    if BIAS in parts:
        raise InputError(f"changes a bias ({BIAS}), which a LoRA cannot hold; merge it into a checkpoint (--into)")
    found = low_rank(parts)
    if found:
        return truncate_factors(found, conv_cut if found.kernel[1:] not in ((), (1, 1)) else cut)
    if network_kind(parts) == "unknown":
        raise InputError(f"holds no weights of a LoRA, LoHa or LoKr ({', '.join(sorted(parts))})")
    matrix = delta(parts)
    inputs = matrix.shape[1]
    # LoHa and LoKr files hold a convolution's weight flat: only its name shows that the kernel is 3x3.
    if CONVOLUTION.search(name):
        return truncated_svd(matrix, (inputs // 9, 3, 3), conv_cut)
    return truncated_svd(matrix, (inputs,), cut)


def _metadata(source: LoraFile, cuttings: dict[str, Truncated], cut: Truncation) -> dict[str, str]:
    limits = [f"rank {cut.rank}"] if cut.rank is not None else []
    limits += [f"{cut.energy:.2%} of the squared norm"] if cut.energy is not None else []
    how = " and ".join(limits)
    old = source.metadata.get("ss_network_dim", "unknown")
    before = source.metadata.get("ss_training_comment", "None")
    comment = f"resized from dimension {old} to {how}" + ("" if before in ("", "None") else f"; {before}")
    return {
        **source.metadata,
        "ss_network_module": "networks.lora",
        "ss_network_dim": uniform(cutting.rank for cutting in cuttings.values()),
        "ss_network_alpha": uniform(float(cutting.parts["alpha"]) for cutting in cuttings.values()),
        "ss_training_comment": comment,
    }
