"""Inspects a LoRA file: what it is, how it was trained, and how strongly it changes each block."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from torch import Tensor

from training.digests import sha256_of
from training.errors import InputError
from training.lora import deltas, lorafile, validity
from training.lora.deltas import ALPHA, DORA, delta, module_rank, network_kind, why_invalid
from training.lora.lorafile import LoraFile, sshs_hashes
from training.lora.validity import FAMILIES
from training.sections.model import Family

TRAINING = {
    "base model": "ss_sd_model_name",
    "base version": "ss_base_model_version",
    "prediction": "modelspec.prediction_type",
    "resolution": "ss_resolution",
    "pictures": "ss_num_train_images",
    "epochs": "ss_num_epochs",
    "steps": "ss_steps",
    "batch size": "ss_total_batch_size",
    "optimiser": "ss_optimizer",
    "learning rate": "ss_learning_rate",
    "UNet rate": "ss_unet_lr",
    "text encoder rate": "ss_text_encoder_lr",
    "schedule": "ss_lr_scheduler",
    "clip skip": "ss_clip_skip",
    "min-SNR gamma": "ss_min_snr_gamma",
    "noise offset": "ss_noise_offset",
    "seed": "ss_seed",
    "comment": "ss_training_comment",
}
"""Metadata shown about the training, by label."""

_BLOCK = re.compile(r"(down_blocks|up_blocks|input_blocks|output_blocks)_(\d+)|(mid_block|middle_block)")
_TEXT = re.compile(r"lora_te\d?")


@dataclass(frozen=True)
class Block:
    """The modules of one block of the model."""

    modules: int
    norm: float
    """Frobenius norm of the changes of the block's modules."""
    mean: float
    """Root mean square of a single weight's change."""


@dataclass(frozen=True)
class Inspection:
    path: Path
    size: int
    sha256: str
    metadata: Mapping[str, str]
    kinds: Mapping[str, int]
    """Number of modules by kind of network."""
    family: Family | None
    ranks: tuple[int, ...]
    alphas: tuple[float, ...]
    dtypes: tuple[str, ...]
    blocks: Mapping[str, Block]
    problems: tuple[str, ...]
    """Why programs may not apply the file, one sentence each."""


def inspect_lora(path: Path) -> Inspection:
    """Inspect a LoRA file. Raises InputError if it is not one."""
    file = lorafile.read_safetensors(path)
    modules = file.modules()
    kinds = Counter(_kind(name, parts) for name, parts in modules.items())
    named = any(set(parts) & deltas.UNREAD.keys() for parts in modules.values())
    if not set(kinds) - {"unknown"} and not named and not validity.foreign_naming(file):
        raise InputError(f"{path}: holds no LoRA module ({len(file.tensors)} tensors); is it a checkpoint?")
    known = {
        name: parts
        for name, parts in modules.items()
        if network_kind(parts) not in ("unknown", "bias") and not why_invalid(parts)
    }
    ranks = {size for parts in known.values() if (size := module_rank(parts)) is not None}
    alphas = {round(float(parts[ALPHA]), 4) for parts in known.values() if ALPHA in parts}
    return Inspection(
        path=path,
        size=path.stat().st_size,
        sha256=sha256_of(path),
        metadata=file.metadata,
        kinds=dict(sorted(kinds.items())),
        family=family(file),
        ranks=tuple(sorted(ranks)),
        alphas=tuple(sorted(alphas)),
        dtypes=tuple(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in file.tensors.values()})),
        blocks=_blocks(known),
        problems=tuple(_problems(file)),
    )


def family(file: LoraFile) -> Family | None:
    """The family that a LoRA file's names and shapes show; None where they fit several."""
    found = validity.families([file])
    return found.pop() if len(found) == 1 else None


def inspection_report(found: Inspection) -> str:
    """The inspection as text."""
    kinds = ", ".join(f"{count} {name}" for name, count in found.kinds.items())
    lines = [
        f"{found.path.name}: {found.size / 2**20:.1f} MiB, {', '.join(found.dtypes)}",
        f"  model      {FAMILIES[found.family] if found.family else 'cannot be told from names and shapes'}",
        f"  modules    {kinds}",
        f"  rank       {_range(found.ranks)}, alpha {_range(found.alphas)}",
        f"  sha256     {found.sha256}",
        f"  sshs hash  {found.metadata.get('sshs_model_hash', 'none')[:12]}",
    ]
    trained = [(label, found.metadata.get(key)) for label, key in TRAINING.items()]
    shown = [f"  {label:18}{value}" for label, value in trained if value not in (None, "", "None")]
    lines += ["How it was trained:", *shown] if shown else ["How it was trained: the file does not say."]
    lines += _tags(found.metadata)
    if found.blocks:
        lines += ["Strength by block (norm of what is added; root mean square a weight):"]
    width = max((len(name) for name in found.blocks), default=0)
    top = max((block.mean for block in found.blocks.values() if isfinite(block.mean)), default=0.0) or 1.0
    for name, block in found.blocks.items():
        bar = "#" * round(20 * block.mean / top) if isfinite(block.mean) else ""
        lines.append(f"  {name:{width}}  {block.modules:3} modules  {block.norm:9.4f}  {block.mean:.2e}  {bar}")
    lines += [f"Warning: {problem}" for problem in found.problems]
    return "\n".join(lines)


def _kind(name: str, parts: Mapping[str, Tensor]) -> str:
    return (
        "DoRA"
        if DORA in parts
        else {"lora": "LoRA", "loha": "LoHa", "lokr": "LoKr"}.get(network_kind(parts), network_kind(parts))
    )


def _blocks(modules: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Block]:
    squares: dict[str, float] = {}
    weights: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for name, parts in modules.items():
        block = _block(name)
        change = delta(parts)
        squares[block] = squares.get(block, 0.0) + float(change.double().square().sum())
        weights[block] += change.numel()
        counts[block] += 1
    return {
        block: Block(counts[block], squares[block] ** 0.5, (squares[block] / weights[block]) ** 0.5)
        for block in sorted(squares, key=_order)
    }


def _block(name: str) -> str:
    text = _TEXT.match(name)
    if text:
        return {"lora_te": "text encoder", "lora_te1": "text encoder 1", "lora_te2": "text encoder 2"}[text[0]]
    match = _BLOCK.search(name)
    if not match:
        return "other"
    return match[3] or f"{match[1]}.{match[2]}"


def _order(block: str) -> tuple[int, int, str]:
    stages = ("text", "down", "input", "mid", "up", "output")
    stage = next((index for index, start in enumerate(stages) if block.startswith(start)), len(stages))
    number = block.rpartition(".")[2]
    return stage, int(number) if number.isdigit() else 0, block


def _problems(file: LoraFile) -> list[str]:
    found = validity.foreign_naming(file)
    if not found:
        found += [f"{problem}; programs skip it or fail" for problem in validity.invalid_modules(file.modules())[:5]]
    mixed = validity.families([file])
    if len(mixed) > 1:
        found.append(validity.mixed_families(mixed))
    stated = file.metadata.get("sshs_model_hash")
    if stated and stated != sshs_hashes(file.tensors, file.metadata)[0]:
        found.append("sshs_model_hash is not that of the tensors: the file was changed after it was made")
    return found


def _tags(metadata: Mapping[str, str]) -> list[str]:
    try:
        folders: Any = json.loads(metadata.get("ss_tag_frequency", "{}"))
        counts: Counter[str] = Counter()
        for tags in folders.values():
            counts.update({tag.strip(): int(number) for tag, number in tags.items()})
    except (ValueError, AttributeError, TypeError):
        return []
    common = ", ".join(f"{tag} ({number})" for tag, number in counts.most_common(10))
    return [f"Most frequent tags: {common}"] if common else []


def _range(values: tuple[float, ...]) -> str:
    if not values:
        return "none"
    return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g}"
