"""Our recipe in double precision, where it must equal kohya's to many more digits than rounding leaves in fp32."""

import hashlib
from typing import Any
from unittest import mock

import pytest
import torch

from training.base.loading import BaseModel
from training.loop import objective, precision, prepare

DRAWS = "33e5e1492edd7110d7f1a65492cbc485924cb2dc9343099bd01121af5e47a0e7"
"""SHA-256 of 65,536 normal numbers in fp32, as they were drawn where the references were recorded."""


def draws_alike() -> bool:
    """Whether this processor draws fp32 numbers that equal those of the references in their last bits, too."""
    numbers = torch.randn(1 << 16, generator=torch.Generator().manual_seed(0))
    return hashlib.sha256(numbers.numpy().tobytes()).hexdigest() == DRAWS


def use(patch: pytest.MonkeyPatch) -> None:
    """Compute all that train.precision = "fp32" computes in fp64; random draws stay those of fp32, widened."""
    narrow, alphas, draw = torch.Tensor.float, objective.alphas_cumprod, objective.Objective.draw

    def wide_draw(self: objective.Objective, shape: torch.Size, place: int) -> Any:
        randn = torch.randn
        with mock.patch.object(torch, "randn", lambda *shape, **how: randn(*shape, **how).double()):
            return draw(self, shape, place)

    patch.setattr(torch.Tensor, "float", lambda self: self if self.dtype == torch.float64 else narrow(self))
    patch.setattr(objective, "alphas_cumprod", lambda *how: alphas(*how).double())
    patch.setattr(objective.Objective, "draw", wide_draw)
    # GradScaler computes its scale by Tensor.float, which is another one here; in fp32 it is 1 and changes nothing.
    patch.setattr(precision, "grad_scaler", lambda *_: torch.amp.GradScaler("cpu", enabled=False))
    patch.setitem(prepare.DTYPES, "fp32", torch.float64)
    vae, text_encoders = BaseModel.vae, BaseModel.text_encoders
    patch.setattr(BaseModel, "vae", lambda self, _: vae(self, torch.float64))
    patch.setattr(BaseModel, "text_encoders", lambda self, _: text_encoders(self, torch.float64))
