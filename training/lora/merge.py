"""Merges LoRA files into one, or into a checkpoint."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from training import atomic_file
from training.base.files import TensorFile
from training.base.keys import family_of_keys
from training.base.parts import refuse_quantised
from training.errors import InputError, TrainingError
from training.lora import lorafile, naming, validity
from training.lora.checkpoint_keys import Target, lora_targets
from training.lora.deltas import ALPHA, BIAS, DORA, DOWN, UP, LowRank, apply_module, delta, low_rank, network_kind
from training.lora.lorafile import LoraFile
from training.lora.metadata import MINIMUM
from training.lora.resize import precision_of, resize, uniform
from training.lora.svd import Truncation
from training.sections.model import Family


@dataclass(frozen=True)
class WeightedSource:
    """A LoRA file and its strength."""

    path: Path
    strength: float = 1.0


@dataclass(frozen=True)
class Baked:
    """The result of a merge into a checkpoint."""

    layers: int
    unused: tuple[str, ...] = field(default=())
    """Modules whose layer the checkpoint does not have."""


def merge(sources: Sequence[tuple[LoraFile, float]]) -> LoraFile:
    """One LoRA that adds exactly the sum of the sources at their strengths.

    Factors are concatenated, so ranks add up and no product mixes one source's factor with another's.
    Raises InputError for networks whose sum is not a LoRA (LoHa, LoKr, DoRA).
    """
    names = sorted({name for file, _ in sources for name in file.modules()})
    tensors: dict[str, Tensor] = {}
    for name in names:
        found = []
        for file, strength in sources:
            parts = file.modules().get(name)
            if parts:
                found.append((_factors(name, parts), strength))
        tensors |= {f"{name}.{part}": tensor for part, tensor in _concatenated(name, found).items()}
    return LoraFile(tensors, _metadata([file for file, _ in sources], tensors))


def merge_files(
    sources: Sequence[WeightedSource], target: Path, rank: int | None = None, precision: torch.dtype | None = None
) -> LoraFile:
    """Write the sum of `sources` to `target`, cut to `rank` if it is given."""
    loaded = [(validity.read_valid(source.path), source.strength) for source in sources]
    found_families = validity.families(file for file, _ in loaded)
    if len(found_families) > 1:
        names = ", ".join(source.path.name for source in sources)
        raise InputError(f"{names}: {validity.mixed_families(found_families)}")
    kind = next(iter(found_families), None)
    if kind is None and any(key.startswith("lora_te_") for file, _ in loaded for key in file.tensors):
        kind = "sd1"  # or SD 2, whose names are the same
    usual = []
    for source, (file, strength) in zip(sources, loaded, strict=True):
        with _named(source.path):
            usual.append((naming.with_usual_names(file, kind), strength))
    found = merge(usual)
    comment = ", ".join(f"{source.path.name} x {source.strength:g}" for source in sources)
    metadata = {**found.metadata, "modelspec.merged_from": comment, "modelspec.title": target.stem}
    found = LoraFile(found.tensors, metadata)
    if rank is not None:
        try:
            found = resize(found, Truncation(rank)).file
        except InputError as error:
            raise InputError(f"{comment}: {error}") from error
    tensors = lorafile.cast_tensors(found.tensors, precision or precision_of(loaded[0][0]))
    lorafile.write_lora(target, tensors, found.metadata, validity.check_written)
    return found


def bake(
    checkpoint: Path, sources: Sequence[WeightedSource], target: Path, precision: torch.dtype | None = None
) -> Baked:
    """Write `checkpoint` (one safetensors file in the original layout) with `sources` merged in.

    Every kind of network can be merged; the arithmetic is fp32, tensors keep their format unless `precision` is
    given. Raises InputError if the checkpoint is no Stable Diffusion model or no module fits it.
    """
    base = lorafile.read_safetensors(checkpoint)
    with _named(checkpoint):
        refuse_quantised(TensorFile(checkpoint))
    broken = _not_finite(checkpoint)
    if broken:
        raise InputError(f"{checkpoint}: {broken} holds NaN or infinity; the file is damaged")
    found = family_of_keys(base.tensors)
    if found is None:
        raise InputError(f"{checkpoint}: is no single-file checkpoint of SD 1.5, SD 2 or SDXL in the original layout")
    shapes = {key: tuple(tensor.shape) for key, tensor in base.tensors.items()}
    # Some trainers name SDXL's layers by diffusers' paths, as those of SD 1; the WebUI reads both.
    namings: tuple[Family, ...] = ("sd1", "sdxl") if found == "sdxl" else (found,)
    known = {place.module: place for names in namings for place in lora_targets(shapes, names)}
    unused: list[str] = []
    layers: set[tuple[str, int | None]] = set()
    for source in sources:
        file = validity.read_valid(source.path)
        modules = file.modules()
        fitting = {
            name: place for name in modules if (place := known.get(name) or known.get(naming.only_encoder(name)))
        }
        shown = validity.families([file])
        has_unet, fits_unet = (any("lora_unet_" in name for name in names) for names in (modules, fitting))
        if (shown and found not in shown) or (has_unet and not fits_unet):
            raise InputError(f"{source.path}: belongs to another family of models than {checkpoint} ({found})")
        if not fitting:
            raise InputError(f"{source.path}: holds no LoRA module that belongs to {checkpoint}")
        with _named(source.path):
            naming.refuse_two_names({name: (place.key, place.third) for name, place in fitting.items()})
        unused += [name for name in modules if name not in fitting]
        for name, place in fitting.items():
            with _named(f"{source.path}: {name}"):
                _add(base.tensors, place, modules[name], source.strength)
            layers.add((place.key, place.third))
    _write_checkpoint(target, lorafile.cast_tensors(base.tensors, precision), base.metadata)
    return Baked(len(layers), tuple(unused))


@contextmanager
def _named(what: Path | str) -> Iterator[None]:
    """An InputError within it begins with `what`: the file, or its module."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from error


def _add(tensors: dict[str, Tensor], place: Target, parts: dict[str, Tensor], strength: float) -> None:
    """Apply one module to the checkpoint's tensor, or to its third of a fused one."""
    if BIAS in parts:
        _add_to_bias(tensors, place, parts[BIAS], strength)
    if network_kind(parts) == "bias":
        return
    whole = tensors[place.key]
    size = whole.numel() // (1 if place.third is None else 3)
    if delta(parts).numel() != size:
        raise InputError(f"was trained for a layer of another size than {place.key} {tuple(whole.shape)}")
    if place.third is None:
        changed = apply_module(whole, parts, strength)
    else:
        thirds = list(whole.chunk(3))
        thirds[place.third] = apply_module(thirds[place.third], parts, strength).to(whole.dtype)
        changed = torch.cat(thirds)
    tensors[place.key] = changed.to(whole.dtype)


def _add_to_bias(tensors: dict[str, Tensor], place: Target, change: Tensor, strength: float) -> None:
    key = f"{place.key.removesuffix('weight')}bias"
    whole = tensors.get(key)
    thirds = list(whole.chunk(1 if place.third is None else 3)) if whole is not None else []
    at = place.third or 0
    if not thirds or thirds[at].numel() != change.numel():
        raise InputError(f"changes a bias of {change.numel()} numbers, which {place.key} does not have")
    changed = thirds[at].float() + strength * change.float().view_as(thirds[at])
    thirds[at] = changed.to(thirds[at].dtype)
    tensors[key] = torch.cat(thirds)


def _factors(name: str, parts: dict[str, Tensor]) -> LowRank:
    found = low_rank(parts)
    if found is None or DORA in parts or BIAS in parts:
        what = "DoRA" if DORA in parts else BIAS if BIAS in parts else network_kind(parts)
        raise InputError(f"{name}: {what} modules cannot be summed into a LoRA; merge them into a checkpoint (--into)")
    return found


def _concatenated(name: str, found: list[tuple[LowRank, float]]) -> dict[str, Tensor]:
    first = found[0][0]
    if any(factors.kernel != first.kernel or len(factors.up) != len(first.up) for factors, _ in found):
        raise InputError(f"{name}: the files were trained for different models (shapes differ)")
    ranks = sum(len(factors.down) for factors, _ in found)
    # alpha holds one common scale; differences from it, and the strengths, go into the up factors.
    scale = first.scale or 1.0
    ups = [factors.up * (strength * factors.scale / scale) for factors, strength in found]
    tail = (1,) * (len(first.kernel) - 1)
    return {
        DOWN: torch.cat([factors.down for factors, _ in found]).reshape(ranks, *first.kernel).contiguous(),
        UP: torch.cat(ups, dim=1).reshape(-1, ranks, *tail).contiguous(),
        ALPHA: torch.tensor(scale * ranks),
    }


def _metadata(sources: Sequence[LoraFile], tensors: dict[str, Tensor]) -> dict[str, str]:
    """The required metadata that all sources share, with the new rank and alpha."""
    first = sources[0].metadata
    shared = {
        key: first[key]
        for key in (*MINIMUM, "modelspec.architecture", "modelspec.resolution", "modelspec.prediction_type")
        if key in first and all(source.metadata.get(key) == first[key] for source in sources)
    }
    return shared | {
        "ss_network_module": "networks.lora",
        "ss_network_dim": uniform(len(tensor) for key, tensor in tensors.items() if key.endswith(DOWN)),
        "ss_network_alpha": uniform(float(tensor) for key, tensor in tensors.items() if key.endswith(ALPHA)),
        "modelspec.sai_model_spec": "1.0.1",
    }


def _not_finite(path: Path) -> str | None:
    """The name of the first tensor that holds NaN or infinity."""
    for name, tensor in lorafile.read_safetensors(path).tensors.items():
        if tensor.is_floating_point() and not tensor.float().isfinite().all():
            return name
    return None


def _write_checkpoint(target: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file.replaced(target) as part:
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, part, metadata or None)
            if broken := _not_finite(part):
                raise TrainingError(f"{target}: not written: {broken} holds NaN or infinity; try --precision fp32")
    except OSError as error:
        raise TrainingError(f"{target}: cannot be written: {error.strerror or error}") from error
