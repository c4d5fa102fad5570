"""A small training set: real photographs that ship inside scikit-image and scikit-learn, with captions."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

TRIGGER = "labphoto"
"""The word that every caption starts with: the LoRA's trigger."""


@dataclass(frozen=True)
class Photo:
    """One photograph inside an installed package."""

    package: str
    path: str
    caption: str


PHOTOS = (
    Photo("skimage", "data/astronaut.png", "portrait of a smiling woman in an orange space suit"),
    Photo("skimage", "data/chelsea.png", "close-up of a tabby cat with green eyes"),
    Photo("skimage", "data/coffee.png", "a cup of coffee on a wooden table"),
    Photo("skimage", "data/rocket.jpg", "a rocket on its launch pad at dusk"),
    Photo("skimage", "data/motorcycle_left.png", "a motorcycle in a garage"),
    Photo("skimage", "data/hubble_deep_field.jpg", "galaxies in the night sky"),
    Photo("skimage", "data/ihc.png", "tissue under a microscope, brown and blue"),
    Photo("skimage", "data/retina.jpg", "the back of an eye, orange with fine vessels"),
    Photo("skimage", "data/camera.png", "a man behind a camera on a tripod, black and white"),
    Photo("skimage", "data/coins.png", "rows of old coins, black and white"),
    Photo("sklearn", "datasets/images/china.jpg", "a temple with a curved roof among trees"),
    Photo("sklearn", "datasets/images/flower.jpg", "a red and yellow flower in front of dark leaves"),
)


def write_training_set(folder: Path, size: int = 128, repeats: int = 10) -> Path:
    """Write the photographs as `size` x `size` PNGs with captions to FOLDER/REPEATS_labphoto (kohya's layout).

    Returns that folder. Raises FileNotFoundError if scikit-image or scikit-learn is not installed.
    """
    target = folder / f"{repeats}_{TRIGGER}"
    target.mkdir(parents=True, exist_ok=True)
    for photo in PHOTOS:
        name = Path(photo.path).stem
        with Image.open(locate(photo)) as image:
            square(image.convert("RGB"), size).save(target / f"{name}.png")
        (target / f"{name}.txt").write_text(f"{TRIGGER}, {photo.caption}\n")
    return target


def locate(photo: Photo) -> Path:
    """The photograph's file. Raises FileNotFoundError if its package is not installed."""
    # Found without importing the package: only its files are needed.
    spec = importlib.util.find_spec(photo.package)
    for home in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(home) / photo.path).is_file():
            return path
    raise FileNotFoundError(
        f"{photo.package}/{photo.path} was not found: install it with `pip install scikit-image scikit-learn`"
    )


def square(image: Image.Image, size: int) -> Image.Image:
    """The middle of `image` as a square, scaled to `size` pixels."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
