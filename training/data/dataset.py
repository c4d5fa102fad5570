"""Batches by number: the same for any number of workers, and after a resume."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from training import rng
from training.data import captions, images
from training.data.cache import Cache
from training.data.latents import Latents
from training.data.order import BatchOrder
from training.data.pictures import Picture
from training.sections.data import Data
from training.sections.optimisation import Train

IMAGE_VALUES = tuple[int, int, int, int, int, int]


@dataclass(frozen=True)
class Batch:
    """Pictures of one size."""

    number: int
    """Its position in the run, from 0."""
    names: list[str]
    latents: Tensor | None
    """(n, channels, h / 8, w / 8), if latents are cached."""
    pixels: Tensor | None
    """(n, 3, h, w), if they are not."""
    captions: list[str]
    hidden: Tensor | None
    """(n, tokens, channels), if text embeddings are cached."""
    pooled: Tensor | None
    """(n, channels), the same for SDXL."""
    weights: Tensor
    """(n,), 1 or the weight of regularisation pictures."""
    mask: Tensor | None
    """(n, h / 8, w / 8), if the loss is masked."""
    sizes: Tensor
    """(n, 6), SDXL's conditions: original height, width; crop's top, left; target height, width."""


@dataclass(frozen=True)
class Sources:
    """Caches of pictures and captions; without latents, or without keys, they are encoded in the step."""

    latents: Latents | None
    text: Cache
    text_keys: dict[str, str]


class Batches(Dataset[Batch]):
    """All batches of a run, by number; `prior_weight` is the loss weight of regularisation pictures."""

    def __init__(
        self, data: Data, train: Train, pictures: Sequence[Picture], sources: Sources, prior_weight: float = 1.0
    ) -> None:
        self.pictures, self.sources, self.seed = pictures, sources, train.seed
        self.order = BatchOrder(pictures, train.batch_size, self.seed)
        self._workers, self._masked, self._prior_weight = data.workers, data.alpha_mask, prior_weight
        self.per_epoch = len(self.order)
        self._epoch: tuple[int, list[tuple[int, ...]]] = (-1, [])

    def __getitem__(self, number: int) -> Batch:
        epoch, place = divmod(number, self.per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self.order.epoch(epoch))
        members = self._epoch[1][place]
        shown = [self.pictures[index] for index in members]
        texts = [self._caption(p, epoch, number, at) for at, p in enumerate(shown)]
        latents, pixels, mask, crops = self._images(members, number)
        hidden, pooled = self._text(texts)
        return Batch(
            number=number,
            names=[picture.path.name for picture in shown],
            latents=latents,
            pixels=pixels,
            captions=texts,
            hidden=hidden,
            pooled=pooled,
            weights=torch.tensor([self._weight(picture) for picture in shown]),
            mask=mask,
            sizes=torch.tensor([_sizes(p, crop) for p, crop in zip(shown, crops, strict=True)], dtype=torch.float32),
        )

    def loader(self, numbers: range) -> DataLoader[Batch]:
        """The batches of these numbers, prepared by the configured number of processes."""
        return DataLoader(
            self,
            batch_size=None,
            sampler=numbers,
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
        )

    def _weight(self, picture: Picture) -> float:
        return self._prior_weight if picture.subset.regularisation else 1.0

    def _caption(self, picture: Picture, epoch: int, number: int, at: int) -> str:
        draw = rng.choices(self.seed, "caption", number, at)
        return captions.vary_caption(picture.caption, picture.subset.captions, epoch + 1, draw)

    def _mirrored(self, picture: Picture, number: int, at: int) -> bool:
        return picture.subset.augment.flip and rng.choices(self.seed, "flip", number, at).random() < 0.5

    def _images(
        self, members: Sequence[int], number: int
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, list[tuple[int, int]]]:
        """Latents or pixels, masks, and the crops' top and left."""
        values, masks, crops = [], [], []
        for at, index in enumerate(members):
            picture = self.pictures[index]
            mirrored = self._mirrored(picture, number, at)
            if self.sources.latents:
                entry = self.sources.latents[index]
                value, mask = entry["mirrored" if mirrored else "latents"], entry.get("mask")
                crops.append(_center(picture))
            else:
                read = self._read(picture, number, at)
                value, mask = (read.values.flip(2) if mirrored else read.values), read.mask
                crops.append(read.crop)
            values.append(value)
            if mask is None:
                mask = torch.ones(picture.fit.size[1] // 8, picture.fit.size[0] // 8)
            masks.append(mask.flip(1) if mirrored else mask)
        stacked = torch.stack(values)
        mask = torch.stack(masks) if self._masked else None
        return (stacked, None, mask, crops) if self.sources.latents else (None, stacked, mask, crops)

    def _read(self, picture: Picture, number: int, at: int) -> images.Pixels:
        augment = picture.subset.augment
        crop = rng.choices(self.seed, "crop", number, at) if augment.random_crop else None
        color = rng.choices(self.seed, "color", number, at) if augment.color else None
        return images.read_pixels(picture.path, picture.fit, crop, color)

    def _text(self, texts: Sequence[str]) -> tuple[Tensor | None, Tensor | None]:
        if not self.sources.text_keys:
            return None, None
        entries = [self.sources.text.get(self.sources.text_keys[text]) for text in texts]
        pooled = torch.stack([entry["pooled"] for entry in entries]) if "pooled" in entries[0] else None
        return torch.stack([entry["hidden"] for entry in entries]), pooled


def _center(picture: Picture) -> tuple[int, int]:
    (width, height), (full_width, full_height) = picture.fit.size, picture.fit.resized
    return max(0, full_height - height) // 2, max(0, full_width - width) // 2


def _sizes(picture: Picture, crop: tuple[int, int]) -> IMAGE_VALUES:
    (width, height), (target_width, target_height) = picture.size, picture.fit.size
    return height, width, *crop, target_height, target_width
