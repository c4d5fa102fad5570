"""Tensor names of single-file checkpoints in the original layout, and the family that they show."""

from collections.abc import Iterable

from training.sections.model import Family

UNET = "model.diffusion_model."
VAE = "first_stage_model."
OLD_CLIP = "cond_stage_model.transformer."
"""SD 1's text encoder in old checkpoints, which sd-scripts reads too."""
CLIP = f"{OLD_CLIP}text_model."
OPEN_CLIP = "cond_stage_model.model."
XL_CLIP = "conditioner.embedders.0.transformer.text_model."
XL_OPEN_CLIP = "conditioner.embedders.1.model."
REFINER = "conditioner.embedders.0.model."

_TEXT: tuple[tuple[str, Family], ...] = ((XL_OPEN_CLIP, "sdxl"), (OPEN_CLIP, "sd2"), (OLD_CLIP, "sd1"))
"""Families by text encoder; SDXL comes first, as it has SD 1's too."""


def family_of_keys(keys: Iterable[str]) -> Family | None:
    """The family of a checkpoint by its keys; None if it is not supported."""
    names = tuple(keys)
    if not any(name.startswith(UNET) for name in names):
        return None
    return next((kind for prefix, kind in _TEXT if any(name.startswith(prefix) for name in names)), None)
