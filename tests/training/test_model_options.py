"""Attention that is asked for and is not there."""

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import nn

from tests.training.workbench import Workbench
from training.config import Train
from training.errors import InputError
from training.loop import model_options

pytestmark = pytest.mark.slow


class Unet(nn.Module):
    """A UNet whose xformers attention ends in `error`."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._error = error

    def enable_xformers_memory_efficient_attention(self) -> None:
        raise self._error


@pytest.mark.skipif(find_spec("xformers") is not None, reason="xformers is installed here")
def test_a_run_without_xformers_is_told_what_to_install_or_set(bench: Workbench) -> None:
    with pytest.raises(InputError, match='this environment has no xformers; install it, or set "sdpa"'):
        bench.train("run", tables={"train": {"attention": "xformers"}})


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libcudart.so.12: cannot open shared object file"),
        ValueError("torch.cuda.is_available() should be True but is False."),
        NotImplementedError("No operator found for `memory_efficient_attention_forward`"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_xformers_that_cannot_be_used_is_one_sentence(error: Exception) -> None:
    with pytest.raises(InputError) as refused:
        model_options.configure_models(Train(attention="xformers"), torch.device("cpu"), Unet(error), (), print)
    assert str(refused.value) == f'train.attention: xformers cannot be used ({error}); set "sdpa", which is as fast'


def test_xformers_gives_way_to_kernels_that_repeat() -> None:
    said: list[str] = []
    settings: dict[str, Any] = {"attention": "xformers"}
    model_options.configure_models(Train(**settings), torch.device("cuda"), Unet(AssertionError()), (), said.append)
    assert said == ["attention by sdpa: xformers may give other bits each time; train.deterministic = false takes it"]
