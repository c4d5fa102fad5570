"""Aspect-ratio buckets, by the arithmetic of kohya's sd-scripts (library/model_util.py, library/train_util.py)."""

import math
from dataclasses import dataclass

from training.sections.data import Buckets, Resolution


@dataclass(frozen=True)
class Fit:
    """How a picture is brought to size: scaled to `resized`, then cropped to `size`. Width and height in pixels."""

    size: Resolution
    resized: Resolution


def bucket_sizes(resolution: Resolution, buckets: Buckets) -> list[Resolution]:
    """All sizes whose area is at most that of `resolution`, sides multiples of the step; sorted."""
    area, step = resolution[0] * resolution[1], buckets.step
    square = int(math.sqrt(area) // step) * step
    sizes = {(square, square)} if square else set()
    for short in range(buckets.min_side, buckets.max_side + 1, step):
        long = min(buckets.max_side, int((area // short) // step) * step)
        if long >= buckets.min_side:
            sizes |= {(short, long), (long, short)}
    return sorted(sizes)


def fit(picture: Resolution, resolution: Resolution, buckets: Buckets, sizes: list[Resolution]) -> Fit:
    """The bucket of a picture (width, height in pixels) and its size before cropping."""
    width, height = picture
    ratio = width / height
    if not buckets.enabled:
        return Fit(resolution, _cover(picture, resolution))
    if buckets.no_upscale:
        return _fit_without_upscale(picture, resolution, buckets.step)
    if picture in sizes:
        return Fit(picture, picture)
    size = min(sizes, key=lambda s: (abs(s[0] / s[1] - ratio), sizes.index(s)))
    bucket_ratio = size[0] / size[1]
    scale = size[1] / height if ratio > bucket_ratio else size[0] / width
    return Fit(size, (int(width * scale + 0.5), int(height * scale + 0.5)))


def _fit_without_upscale(picture: Resolution, resolution: Resolution, step: int) -> Fit:
    width, height = picture
    area = resolution[0] * resolution[1]
    resized = picture
    if width * height > area:
        by_width, by_height = math.sqrt(area * (width / height)), math.sqrt(area / (width / height))
        # Take the rounding that keeps the aspect ratio better.
        flat = _round_down(by_width, step)
        flat_size = (flat, int(flat / (width / height) + 0.5))
        tall = _round_down(by_height, step)
        tall_size = (int(tall * (width / height) + 0.5), tall)
        error_flat = abs(flat / _round_down(flat_size[1], step) - width / height) if flat_size[1] >= step else math.inf
        error_tall = abs(_round_down(tall_size[0], step) / tall - width / height) if tall >= step else math.inf
        resized = flat_size if error_flat < error_tall else tall_size
        if not all(resized):  # no side of the step's length fits: only a larger picture covers its bucket
            resized = max(1, int(by_width + 0.5)), max(1, int(by_height + 0.5))
    size = (max(step, _round_down(resized[0], step)), max(step, _round_down(resized[1], step)))
    return Fit(size, _cover(resized, size) if resized[0] < size[0] or resized[1] < size[1] else resized)


def _round_down(value: float, step: int) -> int:
    return int(value + 0.5) // step * step


def _cover(picture: Resolution, size: Resolution) -> Resolution:
    """The smallest size of the picture's aspect ratio that covers `size`."""
    scale = max(size[0] / picture[0], size[1] / picture[1])
    return max(size[0], int(picture[0] * scale + 0.5)), max(size[1], int(picture[1] * scale + 0.5))
