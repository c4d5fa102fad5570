"""The weight change of one LoRA module, for every kind of network that the WebUI applies."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["lora", "loha", "lokr", "full", "bias", "unknown"]
Parts = Mapping[str, Tensor]
"""The tensors of one module by what follows its name, e.g. lora_down.weight."""

DOWN, UP, MID, ALPHA, DORA = "lora_down.weight", "lora_up.weight", "lora_mid.weight", "alpha", "dora_scale"
BIAS = "diff_b"
"""The difference of a layer's bias, beside any kind of network or alone."""


def network_kind(parts: Parts) -> Kind:
    """The kind of network of a module."""
    if DOWN in parts and UP in parts:
        return "lora"
    if "hada_w1_a" in parts:
        return "loha"
    if any(part.startswith("lokr_w1") for part in parts):
        return "lokr"
    if "diff" in parts:
        return "full"
    return "bias" if BIAS in parts else "unknown"


def module_rank(parts: Parts) -> int | None:
    """The rank of a module; None where it has none (a full difference, LoKr with two full factors)."""
    for part, axis in ((DOWN, 0), ("hada_w1_b", 0), ("lokr_w1_b", 0), ("lokr_w2_b", 0)):
        if part in parts and parts[part].dim():
            return parts[part].shape[axis]
    return None


PARTS: dict[str, frozenset[str]] = {
    "lora": frozenset({DOWN, UP, MID}),
    "loha": frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"}),
    "lokr": frozenset({"lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t1", "lokr_t2"}),
    "full": frozenset({"diff"}),
    "bias": frozenset(),
}
"""The tensors of each kind; alpha, DoRA's magnitudes and a bias's difference may accompany any of them."""
UNREAD = {
    "a1.weight": "GLoRA",
    "on_input": "(IA)^3",
    "oft_diag": "Diag-OFT",
    "oft_blocks": "OFT or BOFT",
    "w_norm": "a trained norm",
}
"""Names of LyCORIS network kinds that are not read here, by a tensor of theirs."""
LARGEST = 1 << 28
"""Most weights of a layer; the largest of a released model has 13 million."""


def why_invalid(parts: Parts) -> str | None:
    """Why a module cannot be applied, as the end of a sentence; None if it can."""
    broken = next((name for name, tensor in sorted(parts.items()) if not _finite(tensor)), None)
    if broken:
        return f"{broken} holds NaN or infinity"
    found = network_kind(parts)
    if found == "unknown":
        other = next((name for part, name in UNREAD.items() if part in parts), None)
        if other:
            return f"is {other} of LyCORIS, which is not read here"
        return f"holds no weights of a known network ({', '.join(sorted(parts))})"
    unread = sorted(parts.keys() - PARTS[found] - {ALPHA, DORA, BIAS})
    if unread:
        return f"holds {', '.join(unread)}, which would be left out"
    whole = next(
        (name for name, tensor in sorted(parts.items()) if name != ALPHA and not tensor.is_floating_point()), None
    )
    if whole:
        return f"{whole} is quantised ({str(parts[whole].dtype).removeprefix('torch.')}), which is not read here"
    if ALPHA in parts and parts[ALPHA].numel() != 1:
        return f"has an alpha that is not one number ({tuple(parts[ALPHA].shape)})"
    empty = next((name for name, tensor in sorted(parts.items()) if not tensor.numel()), None)
    if empty or module_rank(parts) == 0:
        return f"has rank 0 ({empty} is empty)"
    if found == "bias":
        return None
    shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(parts.items()) if tensor.dim())
    if _weights(parts) > LARGEST:
        return f"is of a larger layer than any model has ({shapes})"
    try:
        change = delta(parts)
    except (KeyError, RuntimeError, ValueError, IndexError):
        return f"has factors that do not fit each other ({shapes})"
    return None if _finite(change) else "adds NaN or infinity: its factors are too large"


def _weights(parts: Parts) -> int:
    """Weights of the layer, as far as the shapes of the factors show."""
    factors = [tensor for name, tensor in parts.items() if name not in (ALPHA, DORA, BIAS)]
    if network_kind(parts) == "lokr":
        return math.prod(max(map(_elements, group)) for group in (_named(parts, "lokr_w1"), _named(parts, "lokr_w2")))
    for left, right in ((UP, DOWN), ("hada_w1_a", "hada_w1_b")):
        if left in parts and right in parts and parts[left].dim() and parts[right].dim():
            return parts[left].shape[0] * math.prod(parts[right].shape[1:])
    return max(map(_elements, factors), default=0)


def _named(parts: Parts, start: str) -> list[Tensor]:
    """The tensor of that name, or its two factors as the product's shape."""
    if start in parts:
        return [parts[start]]
    a, b = parts.get(f"{start}_a"), parts.get(f"{start}_b")
    if a is None or b is None or not a.dim() or not b.dim():
        return [torch.empty(1)]
    return [torch.empty(a.shape[0], math.prod(b.shape[1:]), device="meta")]


def _elements(tensor: Tensor) -> int:
    return tensor.numel()


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.float().isfinite().all())


def is_scaled(parts: Parts) -> bool:
    """Whether alpha applies: not for LoKr with two full factors, which every program applies at scale 1."""
    return module_rank(parts) is not None


def module_scale(parts: Parts) -> float:
    """alpha / rank; 1 where a file has no alpha, as in the WebUI."""
    size = module_rank(parts)
    if ALPHA not in parts or size is None:
        return 1.0
    return float(parts[ALPHA]) / size


@dataclass(frozen=True)
class LowRank:
    """A module as up @ down, in fp32: (out, rank) and (rank, in * kernel)."""

    up: Tensor
    down: Tensor
    scale: float
    kernel: tuple[int, ...]
    """The rest of down's shape in the file: (in,) or (in, height, width)."""


def low_rank(parts: Parts) -> LowRank | None:
    """The two factors of a LoRA or LoCon module; None for other kinds."""
    if network_kind(parts) != "lora":
        return None
    up, down = parts[UP].float().flatten(1), parts[DOWN].float()
    kernel = tuple(down.shape[1:])
    if MID in parts:
        mid = parts[MID].float()
        down = torch.einsum("abkl,bi->aikl", mid, down.flatten(1))
        kernel = tuple(down.shape[1:])
    return LowRank(up, down.flatten(1), module_scale(parts), kernel)


def delta(parts: Parts) -> Tensor:
    """The change of the layer's weight at strength 1, in fp32, as (out, all else).

    Formulas: LoRA up @ down; LoHa (a1 @ b1) * (a2 @ b2); LoKr kron(w1, w2) (LyCORIS). DoRA's magnitude is not included,
    see `apply_module`.
    """
    found = low_rank(parts)
    if found:
        return found.scale * (found.up @ found.down)
    parts = {name: tensor.float() for name, tensor in parts.items()}
    if "diff" in parts:
        return parts["diff"].flatten(1)
    if "hada_w1_a" in parts:
        return module_scale(parts) * (_hadamard_factor(parts, "1") * _hadamard_factor(parts, "2")).flatten(1)
    first, second = _kronecker_factor(parts, "1"), _kronecker_factor(parts, "2")
    if second.dim() == 4:
        first = first[..., None, None]
    return module_scale(parts) * torch.kron(first, second.contiguous()).flatten(1)


def apply_module(weight: Tensor, parts: Parts, strength: float = 1.0) -> Tensor:
    """`weight` with the module applied, in fp32 and weight's shape.

    DoRA scales each column (or row, as its magnitudes are shaped) of the new weight to the trained magnitude.
    """
    base = weight.float()
    changed = base.flatten(1) + strength * delta(parts)
    if DORA in parts:
        magnitude = parts[DORA].float().flatten()
        by_row = parts[DORA].shape[0] == base.shape[0]
        grouped = changed if by_row else changed.view(base.shape[0], base.shape[1], -1).transpose(0, 1).flatten(1)
        grouped = grouped * (magnitude / grouped.norm(dim=1))[:, None]
        if not by_row:
            grouped = grouped.view(base.shape[1], base.shape[0], -1).transpose(0, 1)
        changed = base.flatten(1) + strength * (grouped.reshape(changed.shape) - base.flatten(1))
    return changed.view(base.shape)


def _hadamard_factor(parts: Parts, number: str) -> Tensor:
    a, b = parts[f"hada_w{number}_a"], parts[f"hada_w{number}_b"]
    if f"hada_t{number}" in parts:
        return torch.einsum("ijkl,jr,ip->prkl", parts[f"hada_t{number}"], b, a)
    return a @ b


def _kronecker_factor(parts: Parts, number: str) -> Tensor:
    whole = parts.get(f"lokr_w{number}")
    if whole is not None:
        return whole
    a, b = parts[f"lokr_w{number}_a"], parts[f"lokr_w{number}_b"]
    if f"lokr_t{number}" in parts:
        return torch.einsum("ijkl,jr,ip->prkl", parts[f"lokr_t{number}"], b, a)
    return a @ b
