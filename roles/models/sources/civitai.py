"""Civitai: civitai:VERSION_ID, or civitai:VERSION_ID/FILE_ID for another file than the version's first."""

import re

from pydantic import Field

from roles import names
from roles.models.config import BaseVersion, LockedModel, Model, ModelCard, Pin
from roles.models.sources.web import HubAnswer, HubClient, SourceError
from roles.token_services import CIVITAI

BASES: tuple[tuple[str, BaseVersion], ...] = (
    ("SD 1", "SD1"), ("SD 2", "SD2"), ("SDXL", "SDXL"), ("Pony", "SDXL"), ("Illustrious", "SDXL"), ("NoobAI", "SDXL"),
)  # fmt: skip
"""Beginnings of Civitai's names for base models -> the WebUI's names."""
HARMLESS = 1
"""Civitai's nsfwLevel of pictures for everybody."""
SHA256 = re.compile(r"[0-9a-f]{64}")
SOURCE = re.compile(r"civitai:(?P<version>\d+)(/(?P<file>\d+))?")


class File(HubAnswer):
    """One file of a version."""

    id: int
    name: names.FilePath
    primary: bool = False
    kilobytes: float | None = Field(default=None, alias="sizeKB", ge=0, allow_inf_nan=False)
    hashes: dict[str, str | None] = Field(default={})


class Image(HubAnswer):
    """One of its pictures."""

    url: names.Line = ""
    type: str = "image"
    level: float = Field(default=HARMLESS + 1, alias="nsfwLevel")


class Parent(HubAnswer):
    """The model that a version is one of."""

    type: str = ""


class Version(HubAnswer):
    """What Civitai says of a version of a model."""

    id: int
    model_id: int | None = Field(default=None, alias="modelId")
    model: Parent = Parent()
    base: str | None = Field(default=None, alias="baseModel")
    words: list[names.Line] | None = Field(default=None, alias="trainedWords")
    files: list[File] | None = None
    images: list[Image] | None = None


class Page(HubAnswer):
    """What it says of a model."""

    versions: list[Version] | None = Field(default=None, alias="modelVersions")


def resolve(model: Model, client: HubClient) -> LockedModel:
    """What a model's source stands for now. Raises SourceError."""
    found = SOURCE.fullmatch(model.source)
    if not found:
        raise SourceError(f"{model.source!r} is not civitai:VERSION_ID; `sdfleet models add URL` finds it from a page")
    version = client.json(f"{CIVITAI}/api/v1/model-versions/{found['version']}", Version)
    entry = choose_file(version, found["file"])
    sha256 = (entry.hashes.get("SHA256") or "").lower()
    # fileId is the form that goes on meaning this file when the version gets others.
    url = f"{CIVITAI}/api/download/models/{found['version']}?fileId={entry.id}"
    size = whole_bytes(entry.kilobytes)
    if not SHA256.fullmatch(sha256) or size is None:
        content = client.content(url)
        sha256, size = content.sha256, content.size
    pin = Pin(path=entry.name, url=url, sha256=sha256, size=size)
    return LockedModel(**model.model_dump(), revision=found["version"], pins=(pin,), card=card(version))


def card(version: Version) -> ModelCard:
    """What Civitai tells of a version; of its pictures the first that anybody may see."""
    base = version.base or ""
    found: BaseVersion = next((name for prefix, name in BASES if base.startswith(prefix)), "Unknown")
    images = [image for image in version.images or [] if image.type == "image" and image.url.startswith("http")]
    harmless = [image.url for image in images if image.level <= HARMLESS]
    page = f"{CIVITAI}/models/{version.model_id}?modelVersionId={version.id}" if version.model_id else ""
    words = tuple(version.words or ())
    return ModelCard(version=found, words=words, page=page, preview=harmless[0] if harmless else "")


def choose_file(version: Version, file: str | None) -> File:
    """The file of a version: the one asked for, else the primary one. Raises SourceError."""
    files = version.files or []
    fits = [entry for entry in files if (str(entry.id) == file if file else entry.primary)]
    if not fits:
        known = ", ".join(f"{entry.id} ({entry.name})" for entry in files)
        raise SourceError(f"the version has no file {file or 'marked as primary'}; it has {known or 'none'}")
    return fits[0]


def whole_bytes(kilobytes: float | None) -> int | None:
    """Civitai gives sizes as a fraction of KiB; None if that is no whole number of bytes."""
    if kilobytes is None:
        return None
    size = round(kilobytes * 1024)
    return size if abs(size - kilobytes * 1024) < 1e-3 else None
