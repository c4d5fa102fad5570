"""From a picture file to pixels: rotate, resize, crop, mirror, colour."""

from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training.data.buckets import Fit
from training.picture_files import as_displayed, open_picture


@dataclass(frozen=True)
class Pixels:
    """The VAE's input."""

    values: Tensor
    """(3, height, width), -1 to 1."""
    mask: Tensor | None
    """(height / 8, width / 8), 0 to 1: the alpha channel, None without one."""
    crop: tuple[int, int]
    """Top and left of the crop in the resized picture, pixels."""


def read_pixels(path: Path, fit: Fit, crop: Random | None = None, color: Random | None = None) -> Pixels:
    """The picture at `path`, scaled and cropped; the crop is centred unless `crop` draws it.

    Raises InputError if it cannot be read.
    """
    picture, alpha = load_image(path)
    width, height = fit.size
    spare = (max(0, fit.resized[0] - width), max(0, fit.resized[1] - height))
    left, top = (crop.randint(0, spare[0]), crop.randint(0, spare[1])) if crop else (spare[0] // 2, spare[1] // 2)
    box = (left, top, left + width, top + height)
    picture = _resized(picture, fit).crop(box)
    if color:
        picture = _colored(picture, color)
    values = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 127.5 - 1.0).permute(2, 0, 1).contiguous()
    mask = None
    if alpha is not None:
        small = _resized(alpha, fit).crop(box).resize((width // 8, height // 8), Image.Resampling.BOX)
        mask = torch.from_numpy(np.asarray(small, dtype=np.float32) / 255.0)
    return Pixels(values, mask, (top, left))


def load_image(path: Path) -> tuple[Image.Image, Image.Image | None]:
    """The picture at `path`, rotated by its EXIF tag, and its alpha channel if it has one.

    Raises InputError if it cannot be read.
    """
    with open_picture(path) as file:
        image = as_displayed(file)
        transparent = "A" in image.getbands() or "transparency" in image.info
        alpha = image.convert("RGBA").getchannel("A") if transparent else None
        return image.convert("RGB"), alpha


def _resized(image: Image.Image, fit: Fit) -> Image.Image:
    return image if image.size == fit.resized else image.resize(fit.resized, Image.Resampling.LANCZOS)


def _colored(image: Image.Image, draw: Random) -> Image.Image:
    """sd-scripts' color_aug: one picture in three gets its hue rotated by up to 16 degrees, or a gamma near 1."""
    if draw.random() > 0.33:
        return image
    if draw.random() > 0.5:
        hue, saturation, value = image.convert("HSV").split()
        turned = (np.asarray(hue, dtype=np.int16) + round(draw.uniform(-8, 8) / 180 * 256)) % 256
        return Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), saturation, value)).convert("RGB")
    values = np.asarray(image, dtype=np.float32) ** draw.uniform(0.95, 1.05)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))
