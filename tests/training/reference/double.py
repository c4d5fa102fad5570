"""Our recipe in double precision, where it must equal kohya's to many more digits than rounding leaves in fp32."""

from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from training import objective, recipe
from training.base.loading import BaseModel


def use(patch: pytest.MonkeyPatch) -> None:
    """Compute all that train.precision = "fp32" computes in fp64; random draws stay those of fp32, widened."""
    narrow, alphas, draw = torch.Tensor.float, objective.alphas_cumprod, objective.Objective._draw

    def wide_draw(self: objective.Objective, latents: Tensor, place: int) -> Any:
        randn = torch.randn
        with mock.patch.object(torch, "randn", lambda *shape, **how: randn(*shape, **how).double()):
            return draw(self, latents, place)

    patch.setattr(torch.Tensor, "float", lambda self: self if self.dtype == torch.float64 else narrow(self))
    patch.setattr(objective, "alphas_cumprod", lambda *how: alphas(*how).double())
    patch.setattr(objective.Objective, "_draw", wide_draw)
    patch.setitem(recipe.DTYPES, "fp32", torch.float64)
    vae, text_encoders = BaseModel.vae, BaseModel.text_encoders
    patch.setattr(BaseModel, "vae", lambda self, _: vae(self, torch.float64))
    patch.setattr(BaseModel, "text_encoders", lambda self, _: text_encoders(self, torch.float64))
