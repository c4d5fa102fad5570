"""Settings of the models role: the manifest's entries."""

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from roles.names import Address, FilePath, Line, Revision, Sha256
from roles.settings import Name, Settings, is_line

Kind = Literal["checkpoint", "lora", "vae", "embedding", "hypernetwork", "controlnet", "upscaler", "vae_approx", "hub"]

FOLDERS: dict[str, PurePosixPath] = {
    "checkpoint": PurePosixPath("models/Stable-diffusion"),
    "lora": PurePosixPath("models/Lora"),
    "vae": PurePosixPath("models/VAE"),
    "embedding": PurePosixPath("embeddings"),
    "hypernetwork": PurePosixPath("models/hypernetworks"),
    "controlnet": PurePosixPath("models/ControlNet"),
    "upscaler": PurePosixPath("models/ESRGAN"),
    "vae_approx": PurePosixPath("models/VAE-approx"),
}
"""Folder of each kind below the WebUI's data dir; `hub` files go into the Hugging Face cache instead."""

SCHEMES = ("hf:", "modelscope:", "civitai:", "https://", "http://", "file:", "host:", "run:")


def _has_scheme(source: str) -> str:
    if not source.startswith(SCHEMES):
        raise ValueError(f"{source!r} has no known scheme; allowed are {' '.join(SCHEMES)}")
    return is_line(source)


class Model(Settings):
    """One file (or hub snapshot) of the manifest."""

    name: Name = Field(description="Name in the WebUI, without suffix.")
    kind: Kind = Field(description="What it is; decides the folder.")
    source: Annotated[str, AfterValidator(_has_scheme)] = Field(
        description="hf:OWNER/REPO/FILE[@REVISION] (kind hub: hf:OWNER/REPO[@REVISION]), "
        "modelscope:OWNER/NAME/FILE[@REVISION], civitai:VERSION_ID, a URL, file:PATH on the controller, "
        "host:NAME/PATH (a model of another host of the fleet, PATH below its WebUI's data folder), or run:NAME."
    )
    sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="What the bytes must hash to; always in the lock.",
    )
    groups: tuple[str, ...] = Field(default=(), description="Groups whose hosts get it; empty means all.")
    files: tuple[str, ...] = Field(
        default=(),
        description="Kind hub only: which files of the repository are wanted, by name or pattern (*.json); "
        "empty means the one that the source names.",
    )
    allow_pickle: bool = Field(
        default=False, description="Accept a .ckpt/.pt/.bin, which can run code when it is loaded."
    )

    @model_validator(mode="after")
    def _hub_is_from_the_hub(self) -> "Model":
        if self.kind == "hub" and not self.source.startswith("hf:"):
            raise ValueError(f"source: a model of kind hub comes from hf:OWNER/REPO, not from {self.source!r}")
        if self.files and self.kind != "hub":
            raise ValueError("files: only a model of kind hub has several; write one [[models]] table per file")
        return self


class Pin(Settings):
    """What one file of a model resolved to; made by `sdfleet lock`."""

    path: FilePath = Field(description="Name of the file at its source, e.g. unet/model.safetensors.")
    url: Address = Field(description="Where its origin (not a mirror) serves exactly these bytes.")
    sha256: Sha256 = Field(description="What the bytes hash to.")
    size: int | None = Field(default=None, ge=0, description="Its size in bytes; always in the lock.")


BaseVersion = Literal["SD1", "SD2", "SDXL", "Unknown"]
"""The WebUI's names for what a model was made for."""


class Card(Settings):
    """What a source tells of a model, for the card that the WebUI shows."""

    version: BaseVersion = "Unknown"
    words: tuple[Line, ...] = Field(default=(), description="Words that wake it in a prompt.")
    page: Line = Field(default="", description="Where it is described.")
    preview: Line = Field(default="", description="URL of a picture; not pinned, as it decides nothing.")


class LockedModel(Model):
    """A model together with what fleet.lock says of it."""

    revision: Revision = Field(default="", description="Commit or version the source's name stood for.")
    pins: tuple[Pin, ...] = Field(description="Its files, sorted by path.")
    card: Card | None = None


def unlocked(model: Model) -> Model:
    """The model as fleet.toml has it, without what the lock says of it."""
    return Model.model_validate(model.model_dump(include=set(Model.model_fields)))


CLIP = Model(
    name="clip-vit-large-patch14",
    kind="hub",
    source="hf:openai/clip-vit-large-patch14",
    files=("config.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json"),
)
"""The tokenizer that every SD 1.x needs and would otherwise fetch at start; WebUI and trainer run offline."""
