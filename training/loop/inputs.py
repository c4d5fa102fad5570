"""Inputs of one forward pass: a batch with its random numbers and embeddings, as tensors."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from training import rng
from training.data import latents
from training.data.dataset import Batch
from training.data.text import Embedding
from training.data.transfer import pinned, to_device
from training.loop.distributed import ProcessGroup, select_rows
from training.loop.objective import Draw, Objective
from training.loop.prepare import Prepared

Shape = tuple[tuple[str, torch.Size, torch.dtype], ...]
"""Names, shapes and dtypes of the tensors of some inputs."""


@dataclass(frozen=True, kw_only=True)
class Inputs(Draw):
    """A batch; the first axis of each tensor counts its pictures."""

    latents: Tensor
    hidden: Tensor
    """The captions' embeddings (n, tokens, channels)."""
    pooled: Tensor | None
    weights: Tensor
    mask: Tensor | None
    sizes: Tensor
    share: float = 1.0
    """Weight of the loss: below 1 if other processes have other pictures of the batch, 0 if they have all."""

    @property
    def embedding(self) -> Embedding:
        """The captions' embeddings."""
        return Embedding(self.hidden, self.pooled)

    @property
    def shape(self) -> Shape:
        """Inputs of one shape can share one CUDA graph."""
        return tuple((name, value.shape, value.dtype) for name, value in self.tensors().items())

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name, without those that are None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def to(self, device: torch.device) -> "Inputs":
        return replace(self, **{name: to_device(value, device) for name, value in self.tensors().items()})  # type: ignore[arg-type]

    def clone_to(self, device: torch.device) -> "Inputs":
        """A detached copy on `device` that shares no memory."""
        own = {name: value.detach().to(device, copy=True) for name, value in self.tensors().items()}
        return replace(self, **own)  # type: ignore[arg-type]


class InputBuilder:
    """Builds inputs from batches; they stay on the host, in pinned memory for a CUDA device."""

    def __init__(self, objective: Objective, device: torch.device, seed: int, group: ProcessGroup) -> None:
        self._objective, self._device, self._seed, self._group = objective, device, seed, group

    def __call__(self, batch: Batch, source: Prepared) -> Inputs:
        """The inputs of a batch, or this process's part of them."""
        values = self._latents(batch, source)
        whole = self._inputs(batch, source, values, self._objective.draw(values.shape, batch.number))
        share = self._group.share(len(batch.names))
        return replace(select_rows(whole, share.rows), share=share.weight) if share else whole

    def for_validation(self, batch: Batch, source: Prepared, timestep: int) -> Inputs:
        """Inputs with fixed noise and timestep, whose loss can be compared between steps."""
        values = self._latents(batch, source)
        draw = rng.generator(self._seed, "check", batch.number, timestep)
        noise = torch.randn(values.shape, generator=draw)
        return self._inputs(batch, source, values, Draw(noise, torch.full(values.shape[:1], timestep)))

    def _inputs(self, batch: Batch, source: Prepared, values: Tensor, draw: Draw) -> Inputs:
        embedding = self._embedding(batch, source)
        found = Inputs(
            **{field.name: getattr(draw, field.name) for field in fields(Draw)},
            latents=values,
            hidden=embedding.hidden,
            pooled=embedding.pooled,
            weights=batch.weights,
            mask=batch.mask,
            sizes=batch.sizes,
        )
        return replace(found, **{name: pinned(value, self._device) for name, value in found.tensors().items()})  # type: ignore[arg-type]

    def _latents(self, batch: Batch, source: Prepared) -> Tensor:
        if batch.latents is not None:
            return batch.latents
        assert batch.pixels is not None
        places = [f"{self._seed}/{batch.number}/{index}" for index in range(len(batch.names))]
        return latents.encode_pixels(source.vae, batch.pixels, places)

    @staticmethod
    def _embedding(batch: Batch, source: Prepared) -> Embedding:
        if batch.hidden is not None:
            return Embedding(batch.hidden, batch.pooled)
        assert source.text is not None
        return source.text.encode(batch.captions)
