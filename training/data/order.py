"""The batches of an epoch and their order: a function of seed and epoch alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from training import rng
from training.data.pictures import Picture
from training.sections.optimisation import Train

Members = tuple[int, ...]
"""Indices of pictures of one size."""
Shape = tuple[tuple[int, int], int]
"""Size of the pictures of a batch, and their number."""


@dataclass(frozen=True)
class BatchOrder:
    """Batches of every epoch; pictures of one batch share a size, and each is shown `repeats` times."""

    pictures: Sequence[Picture]
    batch_size: int
    seed: int

    def epoch(self, number: int) -> list[Members]:
        """The batches of epoch `number` (from 0), shuffled within and across sizes."""
        by_size: dict[tuple[int, int], list[int]] = {}
        for index, picture in enumerate(self.pictures):
            by_size.setdefault(picture.fit.size, []).extend([index] * picture.repeats)
        draw = rng.choices(self.seed, "order", number)
        batches: list[Members] = []
        for size in sorted(by_size):
            members = by_size[size]
            draw.shuffle(members)
            batches.extend(
                tuple(members[start : start + self.batch_size]) for start in range(0, len(members), self.batch_size)
            )
        draw.shuffle(batches)
        return batches

    def __len__(self) -> int:
        """Batches per epoch."""
        return sum(self.shapes().values())

    def shapes(self) -> dict[Shape, int]:
        """Batches per epoch by shape."""
        counts: dict[tuple[int, int], int] = {}
        for picture in self.pictures:
            counts[picture.fit.size] = counts.get(picture.fit.size, 0) + picture.repeats
        found: dict[Shape, int] = {}
        for size, count in counts.items():
            whole, rest = divmod(count, self.batch_size)
            if whole:
                found[size, self.batch_size] = whole
            if rest:
                found[size, rest] = 1
        return found

    def first(self, shape: Shape) -> int:
        """The number of the first batch of this shape."""
        batches = self.epoch(0)
        return next(at for at, one in enumerate(batches) if (self.pictures[one[0]].fit.size, len(one)) == shape)


def run_length(train: Train, batches: int) -> tuple[int, int]:
    """Optimiser steps of the run, and of an epoch; `batches` is the number per epoch."""
    per_epoch = math.ceil(batches / train.accumulation)
    if train.steps is not None:
        return train.steps, per_epoch
    return math.ceil((train.epochs or 10) * batches / train.accumulation), per_epoch
