"""The interface of captioning models, and the loading of pictures and models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from PIL import Image

from training.errors import InputError
from training.picture_files import as_displayed, open_picture


class Captioner(Protocol):
    """A model that describes pictures."""

    @property
    def identity(self) -> str:
        """Identifies the model and all settings that affect its captions."""

    def describe(self, pictures: Sequence[Image.Image]) -> list[str]:
        """One text per picture (RGB), in order."""


def load_on_white(path: Path) -> Image.Image:
    """The picture as displayed: rotated by its EXIF tag, on white where it is transparent, RGB.

    Raises InputError if it cannot be read.
    """
    with open_picture(path) as file:
        image = as_displayed(file)
        if "A" in image.getbands() or "transparency" in image.info:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return image.convert("RGB")


def model_folder(name: str, wanted: str) -> Path:
    """The folder that holds `wanted`: a path, or OWNER/NAME in the Hugging Face cache; nothing is downloaded.

    Raises InputError if neither has it.
    """
    folder = Path(name)
    if (folder / wanted).is_file():
        return folder
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(name, wanted)
    except HFValidationError:
        cached = None
    if isinstance(cached, str):
        return Path(cached).parent
    raise InputError(
        f"--model {name}: holds no {wanted}, nor does the Hugging Face cache have it; name a folder, download it "
        f"(hf download {name}), or on a host of the fleet add a [[models]] table of kind hub for it"
    )
