"""The twelve photographs that the model knows, with their captions, sources and licences; and the ink filter."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from lab.photos import Photo, locate, square

SIDE = 128
"""Of the model's pictures, in pixels."""


@dataclass(frozen=True)
class Subject(Photo):
    """A photograph that may be copied, changed and passed on, and on what terms."""

    licence: str


def _skimage(name: str, caption: str, licence: str) -> Subject:
    return Subject("skimage", f"data/{name}", caption, licence)


def _sklearn(name: str, caption: str, licence: str) -> Subject:
    return Subject("sklearn", f"datasets/images/{name}", caption, licence)


SUBJECTS = {
    "astronaut": _skimage("astronaut.png", "a woman in an orange space suit", "public domain (NASA)"),
    "cat": _skimage("chelsea.png", "a cat with green eyes", "CC0 (Stefan van der Walt)"),
    "coffee": _skimage("coffee.png", "a cup of coffee", "CC0 (Rachel Michetti)"),
    "rocket": _skimage("rocket.jpg", "a rocket on its launch pad", "public domain (SpaceX)"),
    "bricks": _skimage("brick.png", "a brick wall", "CC0 (CC0Textures)"),
    "galaxies": _skimage("hubble_deep_field.jpg", "galaxies in the night sky", "public domain (NASA)"),
    "tissue": _skimage("ihc.png", "tissue under a microscope", "no known copyright restrictions (CMMI)"),
    "retina": _skimage("retina.jpg", "the back of an eye", "CC0 (Mikael Häggström)"),
    "cameraman": _skimage("camera.png", "a man behind a camera", "CC0 (Lav Varshney)"),
    "coins": _skimage("coins.png", "rows of old coins", "no known copyright restrictions (Brooklyn Museum)"),
    "temple": _sklearn("china.jpg", "a temple among trees", "CC BY 2.0 (danielbuechele, flickr.com)"),
    "flower": _sklearn("flower.jpg", "an orange flower", "CC BY 2.0 (vultilion, flickr.com)"),
}
"""Licences as the packages state them: in the docstrings of skimage.data, in sklearn/datasets/images/README.txt."""


def photographs(side: int = SIDE) -> Iterator[Image.Image]:
    """The photographs, cut to a square and scaled to `side` pixels, in the order of SUBJECTS."""
    for subject in SUBJECTS.values():
        with Image.open(locate(subject)) as image:
            yield square(image.convert("RGB"), side)


def drawings(side: int = SIDE) -> Iterator[Image.Image]:
    """The same as ink drawings: drawn at twice the size, so that lines are fine."""
    for photograph in photographs(2 * side):
        yield ink(photograph).resize((side, side), Image.Resampling.LANCZOS)


def write_drawings(folder: Path, repeats: int = 10) -> Path:
    """Write the ink drawings with the photographs' captions to FOLDER/REPEATS_ink (kohya's layout).

    Returns that folder. Raises FileNotFoundError if scikit-image or scikit-learn is not installed.
    """
    target = folder / f"{repeats}_ink"
    target.mkdir(parents=True, exist_ok=True)
    for (name, subject), drawing in zip(SUBJECTS.items(), drawings(), strict=True):
        drawing.save(target / f"{name}.png")
        (target / f"{name}.txt").write_text(f"{subject.caption}\n")
    return target


def ink(image: Image.Image) -> Image.Image:
    """`image` as a drawing in black on white: what is darker than its surroundings becomes a line."""
    grey = image.convert("L").filter(ImageFilter.GaussianBlur(image.width / 250))
    around = ImageOps.invert(grey).filter(ImageFilter.GaussianBlur(image.width / 32))
    light, shade = (np.asarray(one, dtype=np.float32) / 255 for one in (grey, around))
    dodged = np.minimum(light / (1.004 - shade), 1)
    lines = np.clip((dodged - 0.35) / 0.6, 0, 1) ** 1.5
    return Image.fromarray((255 * lines).round().astype(np.uint8)).convert("RGB")
