"""How the tensors of a single-file checkpoint in the original layout are named, and the family that this shows."""

from collections.abc import Iterable

from training.sections.model import Family

UNET = "model.diffusion_model."
VAE = "first_stage_model."
OLD_CLIP = "cond_stage_model.transformer."
"""SD 1's text encoder as old checkpoints name it; sd-scripts read them too."""
CLIP = f"{OLD_CLIP}text_model."
OPEN_CLIP = "cond_stage_model.model."
XL_CLIP = "conditioner.embedders.0.transformer.text_model."
XL_OPEN_CLIP = "conditioner.embedders.1.model."
REFINER = "conditioner.embedders.0.model."

_TEXT: tuple[tuple[str, Family], ...] = ((XL_OPEN_CLIP, "sdxl"), (OPEN_CLIP, "sd2"), (OLD_CLIP, "sd1"))
"""Which family has which text encoder; SDXL comes first, as it has SD 1's too."""


def family(keys: Iterable[str]) -> Family | None:
    """The family of a checkpoint by its keys, None if it is none of ours."""
    names = tuple(keys)
    if not any(name.startswith(UNET) for name in names):
        return None
    return next((kind for prefix, kind in _TEXT if any(name.startswith(prefix) for name in names)), None)
