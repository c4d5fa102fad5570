"""What to change when memory runs out, the cheapest first, each with an estimate of what it saves."""

import math
from collections.abc import Iterable
from pathlib import Path

from training.base import shapes
from training.base.files import TensorFile
from training.config import Config
from training.errors import InputError

GIGABYTE = 1e9
LONGER = 1.4
"""How much longer a step takes with gradient checkpointing, measured with SD 1.5's UNet on a CPU."""


def advice(config: Config) -> str:
    """One sentence for a run that did not fit."""
    train, found = config.train, []
    if train.precision == "fp32":
        saved = unet_weights(config.model.checkpoint) * 2 / GIGABYTE
        weights = f" and {saved:.1f} GB of weights" if saved else ""
        found.append(f'train.precision = "bf16" (saves half of the activations{weights})')
    if not train.gradient_checkpointing:
        found.append(
            f"train.gradient_checkpointing = true (saves most of the activations, a step takes {LONGER}x the time)"
        )
    if train.batch_size > 1:
        found.append(
            f"train.batch_size = 1 with train.accumulation = {train.accumulation * train.batch_size} "
            f"(saves {1 - 1 / train.batch_size:.0%} of the activations; the same result on average)"
        )
    if config.network.text_encoder:
        found.append("network.text_encoder = false (the text encoders then leave the memory before the first step)")
    if config.data.encode == "along":
        found.append('data.encode = "ahead" (the VAE then leaves the memory before the first step)')
    width, height = config.data.resolution
    smaller = [max(64, math.floor(side * 0.75 / 64) * 64) for side in (width, height)]
    share = smaller[0] * smaller[1] / (width * height)
    if share < 1:
        found.append(
            f"data.resolution = [{smaller[0]}, {smaller[1]}] instead of {width}x{height} "
            f"(saves {1 - share:.0%} of the activations)"
        )
    if config.network.rank > 4:
        found.append(f"network.rank = {config.network.rank // 2} (halves its weights, gradients and optimiser state)")
    return "out of memory; the last checkpoint is kept. Try, one after the other: " + "; ".join(found)


def unet_weights(checkpoint: Path) -> int:
    """How many weights the checkpoint's UNet has; 0 if that cannot be read."""
    try:
        if checkpoint.is_dir():
            files = (TensorFile(file) for file in sorted((checkpoint / "unet").glob("*.safetensors")))
            return sum(_count(file.shapes.values()) for file in files)
        own = TensorFile(checkpoint).shapes
        return _count(shape for name, shape in own.items() if name.startswith(shapes.UNET))
    except InputError:
        return 0


def _count(found: Iterable[tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for shape in found)
