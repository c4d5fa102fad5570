"""[data]: pictures, captions, buckets and augmentation."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from training.sections.base import File, Rate, Settings

Resolution = tuple[int, int]


LARGEST_SIDE = 16_384
"""Pixels; far above what these models can generate."""
MOST_REPEATS = 1_000_000
PICTURE_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".avif"})
"""Endings of the files that are shown; all else in a folder is left out."""


def _as_pair(value: object) -> object:
    """Width and height from 512, "512", "512,768" or [512, 768]."""
    if isinstance(value, str | bool):
        parts = [part.strip() for part in str(value).split(",")]
        if not all(part.isdecimal() and len(part) < 10 for part in parts):
            raise ValueError('must be a number, "width,height" or [width, height]')
        value = [int(part) for part in parts]
        value = value[0] if len(value) == 1 else value
    if isinstance(value, int):
        return (value, value)
    return value


def _check_sides(value: Resolution) -> Resolution:
    for side in value:
        if not 64 <= side <= LARGEST_SIDE or side % 8:
            raise ValueError(f"each side must be a multiple of 8, at least 64 and at most {LARGEST_SIDE}")
    return value


def _check_ending(value: str) -> str:
    if not re.fullmatch(r"\.[^/\0]{0,30}[^/\0.]", value):
        raise ValueError("must be the ending of a file's name, like .txt")
    return value


Ending = Annotated[str, AfterValidator(_check_ending)]


class Captions(Settings):
    """[data.captions]: how captions are read and varied."""

    extensions: tuple[Ending, ...] = Field(
        default=(".txt", ".caption"), description="Endings of caption files; the first that exists is read."
    )
    required: bool = Field(
        default=False,
        description="Refuse pictures without a caption file; otherwise the folder's name (N_name) is their caption.",
    )
    lines: Literal["join", "first"] = Field(
        default="join", description="How a caption of several lines is read: all lines joined, or only the first."
    )
    wildcards: bool = Field(
        default=False,
        description="Choose one of several lines, and one of {red|blue}, each time, as sd-scripts' enable_wildcard.",
    )
    shuffle: bool = Field(default=False, description="Shuffle the caption's parts each time a picture is shown.")
    separator: str = Field(default=",", min_length=1, description="What separates the parts of a caption.")
    keep_tokens: int = Field(
        default=0, ge=0, description="Number of parts at the front that are never shuffled or dropped."
    )
    keep_tokens_separator: str = Field(default="", description="Parts before this mark are kept, e.g. '|||'.")
    dropout: Rate = Field(default=0.0, description="Probability that a picture is shown with an empty caption.")
    dropout_every_epochs: int = Field(
        default=0, ge=0, description="In every n-th epoch all captions are empty; 0 is never."
    )
    tag_dropout: Rate = Field(default=0.0, description="Probability that a part of the caption is left out.")
    prefix: str = Field(default="", description="Text put before every caption.")
    suffix: str = Field(default="", description="Text put after every caption.")
    weighted: bool = Field(default=False, description="Apply (more:1.3) and [less] in captions, as the WebUI does.")

    @property
    def fixed(self) -> "Captions":
        """The same settings without anything that varies between epochs."""
        return self.model_copy(
            update={
                "shuffle": False,
                "tag_dropout": 0.0,
                "dropout": 0.0,
                "dropout_every_epochs": 0,
                "wildcards": False,
            }
        )

    @property
    def varies(self) -> bool:
        """Whether a picture's caption may differ between epochs."""
        return self.shuffle or self.tag_dropout > 0 or self.wildcards


class Augment(Settings):
    """[data.augment]: how pictures are varied."""

    flip: bool = Field(default=False, description="Show half of the pictures mirrored.")
    color: bool = Field(
        default=False,
        description="Change the hue or gamma of one picture in three, as sd-scripts does; needs cache_latents = false.",
    )
    random_crop: bool = Field(
        default=False, description="Crop at random, not at the centre; needs cache_latents = false."
    )


class Buckets(Settings):
    """[data.buckets]: aspect-ratio buckets, computed as in kohya's sd-scripts."""

    enabled: bool = Field(
        default=True, description="Sort pictures by aspect ratio; otherwise all are cropped to one size."
    )
    min_side: int = Field(default=256, ge=8, le=LARGEST_SIDE, description="Shortest side of a bucket in pixels.")
    max_side: int = Field(default=1024, ge=8, le=LARGEST_SIDE, description="Longest side of a bucket in pixels.")
    step: int = Field(
        default=64, ge=8, le=LARGEST_SIDE, multiple_of=8, description="Sides of buckets are multiples of this."
    )
    no_upscale: bool = Field(default=False, description="Never enlarge a picture; its bucket follows its own size.")

    @model_validator(mode="after")
    def _ordered(self) -> "Buckets":
        if self.min_side > self.max_side:
            raise ValueError(f"min_side ({self.min_side}) must not be larger than max_side ({self.max_side})")
        return self


class Subset(Settings):
    """[[data.subsets]]: a folder of pictures with its own settings."""

    folder: File = Field(description="Folder of pictures and their captions.")
    repeats: int = Field(default=1, ge=1, le=MOST_REPEATS, description="How often each picture is shown in an epoch.")
    class_tokens: str = Field(default="", description="Caption of pictures without a caption file.")
    regularisation: bool = Field(default=False, description="Pictures of the class in general, not of the subject.")
    resolution: Resolution | None = Field(
        default=None, description="Training size of this folder; default: data.resolution."
    )
    captions: Captions = Field(default=Captions(), description="Overrides of [data.captions].")
    augment: Augment = Field(default=Augment(), description="Overrides of [data.augment].")

    @field_validator("resolution", mode="before")
    @classmethod
    def _pair(cls, value: object) -> object:
        return None if value is None else _as_pair(value)

    @field_validator("resolution")
    @classmethod
    def _sides(cls, value: Resolution | None) -> Resolution | None:
        return None if value is None else _check_sides(value)


class Data(Settings):
    """[data]: where the pictures are and how they are shown."""

    folder: File | None = Field(
        default=None, description="Folder of folders N_name, whose pictures are shown N times per epoch."
    )
    regularisation: File | None = Field(
        default=None, description="Folder of folders N_name with regularisation pictures."
    )
    subsets: tuple[Subset, ...] = Field(default=(), description="Further folders, each with its own settings.")
    resolution: Resolution = Field(
        default=(512, 512), description="Training size in pixels: a number or [width, height]."
    )
    buckets: Buckets = Field(default=Buckets(), description="Aspect-ratio buckets.")
    captions: Captions = Field(default=Captions(), description="How captions are read and varied.")
    augment: Augment = Field(default=Augment(), description="How pictures are varied.")
    alpha_mask: bool = Field(default=False, description="Weight the loss by the pictures' alpha channel.")
    cache_latents: bool = Field(default=True, description="Encode pictures once and keep the latents on disk.")
    encode: Literal["auto", "ahead", "along"] = Field(
        default="auto",
        description="When pictures are encoded: all ahead of the first step, or along the way, each when it is first "
        "shown, with the VAE kept in memory; auto: along if one process trains on a CPU.",
    )
    cache_text: Literal["auto"] | bool = Field(
        default="auto",
        description="Encode captions once and cache them; auto: if they never change and no text encoder is trained.",
    )
    cache_folder: File | None = Field(
        default=None, description="Cache that runs share; default: a cache in the run folder."
    )
    vae_batch_size: int = Field(default=1, ge=1, description="Pictures encoded at once while the cache is filled.")
    workers: int = Field(default=0, ge=0, description="Processes that prepare batches; never changes the result.")

    @field_validator("resolution", mode="before")
    @classmethod
    def _pair(cls, value: object) -> object:
        return _as_pair(value)

    @field_validator("resolution")
    @classmethod
    def _sides(cls, value: Resolution) -> Resolution:
        return _check_sides(value)

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, raw: Any) -> Any:
        """Tables of subsets inherit from those of [data]."""
        if not isinstance(raw, dict) or not isinstance(raw.get("subsets"), list | tuple):
            return raw
        subsets = []
        for subset in raw["subsets"]:
            if isinstance(subset, dict):
                own = {
                    table: {**raw[table], **subset.get(table, {})}
                    for table in ("captions", "augment")
                    if isinstance(raw.get(table), dict) and isinstance(subset.get(table, {}), dict)
                }
                subset = {**subset, **own}
            subsets.append(subset)
        return {**raw, "subsets": subsets}

    @model_validator(mode="after")
    def _consistent(self) -> "Data":
        if self.folder is None and not self.subsets:
            raise ValueError("no pictures: set folder (holds folders N_name) or add [[data.subsets]]")
        for augment in (self.augment, *(subset.augment for subset in self.subsets)):
            if self.cache_latents and (augment.color or augment.random_crop):
                raise ValueError("augment.color and augment.random_crop need cache_latents = false")
        if self.encode == "along" and (self.workers or self.vae_batch_size > 1 or not self.cache_latents):
            raise ValueError("encode = 'along' needs cache_latents = true, workers = 0 and vae_batch_size = 1")
        if self.cache_text is True and any(c.varies for c in (self.captions, *(s.captions for s in self.subsets))):
            raise ValueError(
                "captions that are shuffled, lose tags or have wildcards cannot be cached; set cache_text to auto"
            )
        return self
