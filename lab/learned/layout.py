"""From trained networks of diffusers and transformers to the tensors of SD 1.5's single-file layout."""

from typing import Any

import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from torch import Tensor, nn

from lab.checkpoint_layout import Dimensions, names
from lab.learned.weights import Weights


def checkpoint(unet: Any, vae: Any, text: nn.Module, size: Dimensions) -> Weights:
    """The networks' weights by their names in the single-file layout; `size` with the vocabulary of `text`.

    diffusers converts only in the other direction. So it is given tensors of which each holds its own number, and where
    a number arrives is where the trained tensor comes from.
    """
    numbered = dict(enumerate(names(size)))
    empty = {name: torch.full(shape, float(number)) for number, (name, shape) in numbered.items()}
    found: Weights = {}
    for network, converted in (
        (unet, convert_ldm_unet_checkpoint(dict(empty), dict(unet.config))),
        (vae, convert_ldm_vae_checkpoint(dict(empty), dict(vae.config))),
        (text, convert_ldm_clip_checkpoint(dict(empty))),
    ):
        for own, value in _matching(network.state_dict(), converted):
            name, shape = numbered[int(value.flatten()[0])]
            found[name] = own.reshape(shape).float().numpy()
    return found


def _matching(own: dict[str, Tensor], converted: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    # transformers 5.6 dropped the text_model level from the names.
    plain = {name.removeprefix("text_model."): value for name, value in converted.items()}
    pairs = [(name.removeprefix("text_model."), value) for name, value in own.items()]
    return [(value, plain[name]) for name, value in pairs if not name.endswith("position_ids")]
