"""The two layouts of a base model: one original-layout safetensors file, or a diffusers folder. Needs no torch."""

import json
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from training.base import header, shapes
from training.errors import InputError, reason
from training.sections.model import Family, Model

REFINER_WIDTH = 1280
"""The refiner's UNet attends to OpenCLIP's text alone, of 1280 numbers a token."""


class TensorFile:
    """The header of a safetensors file; `read_tensors` reads the rest. Raises InputError for other files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = header.read_header(path)
        self.shapes = self.header.shapes


class DiffusersFolder:
    """A folder with model_index.json and one folder per part."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not (path / "unet" / "config.json").is_file():
            raise InputError(f"{path}: is not a diffusers folder (no unet/config.json)")

    def config(self, part: str, name: str = "config.json") -> dict[str, Any]:
        """The JSON settings of a part; empty if it has none."""
        file = self.path / part / name
        if not file.is_file():
            return {}
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{file}: is no readable JSON ({reason(error)})") from error
        if not isinstance(found, dict):
            raise InputError(f"{file}: holds no settings")
        return found

    @cached_property
    def family(self) -> Family:
        """The family, from the settings of UNet and text encoder. Raises InputError if it cannot be trained."""
        unet = self.config("unet")
        shapes.refuse_channels(unet.get("in_channels"))
        if unet.get("addition_embed_type") == "text_time":
            only_second = (self.path / "text_encoder_2").is_dir() and not (self.path / "text_encoder").is_dir()
            if only_second or unet.get("cross_attention_dim") == REFINER_WIDTH:
                raise InputError(shapes.IS_REFINER)
            return "sdxl"
        return "sd2" if self.config("text_encoder").get("hidden_act") == "gelu" else "sd1"

    def weights(self) -> Iterable[Path]:
        """The files of its tensors, sorted."""
        return sorted(self.path.glob("*/*.safetensors"))


def open_base(path: Path) -> TensorFile | DiffusersFolder:
    """The checkpoint at `path`. Raises InputError if there is none."""
    return DiffusersFolder(path) if path.is_dir() else TensorFile(path)


def family_of(source: TensorFile | DiffusersFolder) -> Family:
    """The family of a checkpoint. Raises InputError with the file's name if it cannot be trained."""
    try:
        if isinstance(source, DiffusersFolder):
            return source.family
        return shapes.family_of_shapes(source.shapes)
    except InputError as error:
        raise InputError(f"{source.path}: {error}") from error


def family_as_configured(config: Model, source: TensorFile | DiffusersFolder) -> Family:
    """The family of a checkpoint. Raises InputError if it cannot be trained, or is not the one that is configured."""
    found = family_of(source)
    if config.family not in ("auto", found):
        raise InputError(f"{config.checkpoint}: is of the family {found}, but model.family says {config.family}")
    return found


def has_vocabulary(folder: Path) -> bool:
    """Whether a folder holds CLIP's vocabulary, in one of the two forms in which transformers writes it."""
    return has_vocabulary_in_parts(folder) or (folder / "tokenizer.json").is_file()


def has_vocabulary_in_parts(folder: Path) -> bool:
    """Whether it holds the older form, vocab.json and merges.txt."""
    return all((folder / name).is_file() for name in ("vocab.json", "merges.txt"))


def tokenizer_folder(configured: Path | None, source: TensorFile | DiffusersFolder, part: str) -> Path:
    """The folder of CLIP's vocabulary: the configured one, the checkpoint's own, or the Hugging Face cache's.

    All families share one vocabulary; it is never downloaded. Raises InputError if none of them has it.
    """
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    hub = Path(os.environ.get("HF_HUB_CACHE", home / "hub")) / "models--openai--clip-vit-large-patch14"
    ref = hub / "refs" / "main"
    candidates = [configured] if configured else []
    if isinstance(source, DiffusersFolder):
        candidates.append(source.path / part)
    if ref.is_file():
        candidates.append(hub / "snapshots" / ref.read_text().strip())
    for folder in candidates:
        if has_vocabulary(folder):
            return folder
    raise InputError(
        f"no CLIP tokenizer (vocab.json and merges.txt, or tokenizer.json) in {configured or hub}; fetch it once with: "
        "hf download openai/clip-vit-large-patch14 vocab.json merges.txt, or set model.tokenizer "
        "to the folder that has them (in a kohya config: tokenizer_cache_dir to a folder in which they are in "
        "openai_clip-vit-large-patch14)"
    )
