"""The loss on held-back pictures, with fixed noise and timesteps."""

from collections.abc import Sequence
from dataclasses import replace

from training import rng
from training.data import captions, pictures
from training.data.pictures import Picture
from training.errors import InputError
from training.loop.objective import STEPS
from training.sections.data import Augment, Data
from training.sections.output import Validation


def hold_back(
    settings: Validation, folder: Data | None, seed: int, found: Sequence[Picture]
) -> tuple[list[Picture], list[Picture]]:
    """Pictures to train on, and held-back pictures, each shown once.

    The pictures of `folder` are held back if there is one; otherwise a share, chosen by seed and file names. Raises
    InputError if none would be left to train on.
    """
    if folder:
        return list(found), pictures.find_pictures(folder)
    if not settings.share:
        return list(found), []
    own = [picture for picture in found if not picture.subset.regularisation]
    count = max(1, round(len(own) * settings.share))
    if count >= len(own):
        raise InputError(f"validation.share: {settings.share} of {len(own)} pictures leaves none to train on; lower it")
    order = sorted(own, key=lambda picture: rng.key(seed, "validation", picture.path.name))
    held_paths = {picture.path for picture in order[:count]}
    return (
        [picture for picture in found if picture.path not in held_paths],
        [_plain(picture) for picture in own if picture.path in held_paths],
    )


def encoding_settings(data: Data) -> Data:
    """The settings for encoding held-back pictures: nothing varies."""
    return data.model_copy(update={"cache_latents": True, "cache_text": "auto", "workers": 0})


def validation_timesteps(count: int) -> list[int]:
    """Timesteps to measure at, evenly spaced."""
    return [int((index + 0.5) * STEPS / count) for index in range(count)]


def _plain(picture: Picture) -> Picture:
    """The picture as one of validation.folder, with a fixed caption and without augmentation."""
    still = picture.subset.captions.fixed
    subset = picture.subset.model_copy(update={"captions": still, "augment": Augment()})
    caption = captions.read_caption(picture.path, still, subset.class_tokens)
    return replace(picture, subset=subset, caption=caption, repeats=1)
