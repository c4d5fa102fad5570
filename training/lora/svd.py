"""Low-rank approximation of weight changes by truncated singular value decomposition."""

from dataclasses import dataclass

import torch
from torch import Tensor

from training.errors import InputError
from training.lora.deltas import ALPHA, DOWN, UP, LowRank


@dataclass(frozen=True)
class Truncation:
    """How many singular values to keep: a rank, a share of the energy, or whichever is less."""

    rank: int | None = None
    energy: float | None = None
    """Share of the squared Frobenius norm to keep, 0 to 1."""

    def at(self, values: Tensor) -> int:
        """The number of singular values to keep, at least one."""
        kept = len(values)
        if self.energy is not None:
            share = values.double().square().cumsum(0)
            # Comparing with a total of 0 keeps one value of a module that changes nothing.
            kept = int((share < self.energy * share[-1]).sum()) + 1
        return max(1, min(kept, len(values), self.rank or len(values)))


@dataclass(frozen=True)
class Truncated:
    """A truncated module and what it kept."""

    parts: dict[str, Tensor]
    rank: int
    kept: float
    """Share of the squared Frobenius norm that is left."""


def truncated_svd(matrix: Tensor, kernel: tuple[int, ...], cut: Truncation) -> Truncated:
    """A module that adds the best low-rank approximation of `matrix` (out, in * kernel).

    Raises InputError if its numbers are too large for fp32.
    """
    up, values, down = _svd(matrix.float())
    return _cutting(up, values, down, 1.0, kernel, cut)


def truncate_factors(found: LowRank, cut: Truncation) -> Truncated:
    """A module of lower rank that adds nearly the same.

    The two thin factors are reduced to square ones first (QR), so no matrix of the layer's size is decomposed.
    alpha / rank stays as it was. Raises InputError if its numbers are too large for fp32.
    """
    up, up_rest = torch.linalg.qr(found.up)
    down, down_rest = torch.linalg.qr(found.down.T)
    left, values, right = _svd(up_rest @ down_rest.T)
    return _cutting(up @ left, values, right @ down.T, found.scale, found.kernel, cut)


def _svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if not matrix.isfinite().all():
        raise InputError("its numbers are too large to be decomposed in fp32")
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return left, values, right


def _cutting(
    up: Tensor, values: Tensor, down: Tensor, scale: float, kernel: tuple[int, ...], cut: Truncation
) -> Truncated:
    rank = cut.at(values)
    # The root goes to both factors, so that neither overflows or vanishes in fp16.
    root = values[:rank].sqrt()
    total = float(values.double().square().sum())
    tail = (1,) * (len(kernel) - 1)
    parts = {
        DOWN: (root[:, None] * down[:rank]).reshape(rank, *kernel).contiguous(),
        UP: (up[:, :rank] * root).reshape(-1, rank, *tail).contiguous(),
        ALPHA: torch.tensor(scale * rank),
    }
    return Truncated(parts, rank, float(values[:rank].double().square().sum()) / total if total else 1.0)
