"""Prompts to text embeddings: tokens in chunks of 75, clip skip, emphasis, SDXL's two encoders."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from training.data import emphasis
from training.data.transfer import to_device
from training.sections.model import Family, Model

CHUNK = 75
"""Tokens that a CLIP text encoder takes besides its begin and end token."""


@dataclass(frozen=True)
class Embedding:
    """Text embeddings of a batch of captions."""

    hidden: Tensor
    """(batch, tokens, channels)."""
    pooled: Tensor | None
    """(batch, channels), SDXL only."""


@dataclass(frozen=True)
class Tokens:
    """A caption in chunks of at most 75 tokens."""

    chunks: list[list[int]]
    weights: list[list[float]]
    """Weight of each token."""


class TextStack:
    """Tokenizer and text encoders of a family; `weighted` applies emphasis."""

    def __init__(
        self, tokenizer: Any, encoders: list[Any], family: Family, config: Model, weighted: bool = False
    ) -> None:
        self.tokenizer, self.encoders, self.family, self.config = tokenizer, encoders, family, config
        self.weighted = weighted
        self.begin, self.end = tokenizer.bos_token_id, tokenizer.eos_token_id

    def encode(self, captions: Sequence[str]) -> Embedding:
        """The embeddings of captions, in fp32. Gradients flow if the encoders' networks are trained."""
        tokens = [self._tokens(caption) for caption in captions]
        device, dtype = self.encoders[0].device, self.encoders[0].dtype
        half = dtype in (torch.float16, torch.bfloat16)
        with torch.autocast(device.type, dtype) if half else contextlib.nullcontext():
            return self._encode(tokens, len(captions))

    def _encode(self, tokens: Sequence[Tokens], captions: int) -> Embedding:
        hidden, pooled = [], None
        for index, encoder in enumerate(self.encoders):
            # SD 1 and SDXL's first encoder pad with the end token, OpenCLIP's with token 0.
            pad = 0 if self.family == "sd2" or index == 1 else self.end
            ids = torch.tensor([_marked(chunk, self.begin, self.end, pad) for one in tokens for chunk in one.chunks])
            out = encoder(to_device(ids, encoder.device), output_hidden_states=True)
            states = _joined(self._layer(encoder, out), captions).float()
            hidden.append(_emphasised(states, tokens) if self.weighted else states)
            if index == 1:
                pooled = out.text_embeds.view(captions, -1, out.text_embeds.shape[-1])[:, 0].float()
        return Embedding(torch.cat(hidden, dim=-1), pooled)

    def _layer(self, encoder: Any, out: Any) -> Tensor:
        """The hidden layer that the family and clip_skip select."""
        skip = self.config.hidden_layer(self.family)
        if self.family == "sdxl":
            return out.hidden_states[-skip]  # type: ignore[no-any-return]  # without the final norm
        # SD 2 encoders were loaded without the layer they never use: the last is the last but one.
        if skip == 1:
            return out.last_hidden_state  # type: ignore[no-any-return]
        norm = getattr(encoder, "text_model", encoder).final_layer_norm
        return norm(out.hidden_states[-skip])  # type: ignore[no-any-return]

    def _tokens(self, caption: str) -> Tokens:
        """The caption's tokens in as many chunks as max_token_length allows; the last ones may be empty."""
        parts = emphasis.parse_emphasis(caption) if self.weighted else [emphasis.WeightedText(caption, 1.0)]
        ids: list[int] = []
        weights: list[float] = []
        for part in parts:
            own = self.tokenizer(part.text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
            ids += own
            weights += [part.weight] * len(own)
        starts = range(0, self.config.max_token_length, CHUNK)
        return Tokens([ids[at : at + CHUNK] for at in starts], [weights[at : at + CHUNK] for at in starts])


def _marked(chunk: list[int], begin: int, end: int, pad: int) -> list[int]:
    """A chunk with begin and end token, padded to the encoder's length."""
    return [begin, *chunk, end, *[pad] * (CHUNK - len(chunk))]


def _joined(states: Tensor, captions: int) -> Tensor:
    """(captions x chunks, 77, channels) to (captions, chunks x 75 + 2, channels): one begin and one end token."""
    if states.shape[0] == captions:
        return states
    parts = states.view(captions, -1, *states.shape[1:])
    first, last = parts[:, 0, :1], parts[:, -1, -1:]
    return torch.cat([first, parts[:, :, 1:-1].flatten(1, 2), last], dim=1)


def _emphasised(states: Tensor, tokens: Sequence[Tokens]) -> Tensor:
    """States scaled by their tokens' weights, then rescaled to their original mean, as in the WebUI."""
    rows = [
        [1.0, *(w for chunk in one.weights for w in [*chunk, *[1.0] * (CHUNK - len(chunk))]), 1.0] for one in tokens
    ]
    weights = to_device(torch.tensor(rows, dtype=states.dtype), states.device).unsqueeze(-1)
    scaled = states * weights
    before, after = states.mean(dim=(1, 2), keepdim=True), scaled.mean(dim=(1, 2), keepdim=True)
    return scaled * (before / after)
