"""Civitai: civitai:VERSION_ID, or civitai:VERSION_ID/FILE_ID for another file than the version's first."""

import re
from typing import Any

from roles.models.addresses import CIVITAI
from roles.models.config import BaseVersion, Card, LockedModel, Model, Pin
from roles.models.sources.web import Asker, SourceError

BASES: tuple[tuple[str, BaseVersion], ...] = (
    ("SD 1", "SD1"), ("SD 2", "SD2"), ("SDXL", "SDXL"), ("Pony", "SDXL"), ("Illustrious", "SDXL"), ("NoobAI", "SDXL"),
)  # fmt: skip
"""Beginnings of Civitai's names for base models -> the WebUI's names."""
HARMLESS = 1
"""Civitai's nsfwLevel of pictures for everybody."""
SOURCE = re.compile(r"civitai:(?P<version>\d+)(/(?P<file>\d+))?")


def resolve(model: Model, asker: Asker) -> LockedModel:
    """What a model's source stands for now. Raises SourceError."""
    found = SOURCE.fullmatch(model.source)
    if not found:
        raise SourceError(f"{model.source!r} is not civitai:VERSION_ID; `sdfleet models add URL` finds it from a page")
    version = asker.json(f"{CIVITAI}/api/v1/model-versions/{found['version']}")
    entry = chosen(version, found["file"])
    sha256 = str(entry.get("hashes", {}).get("SHA256") or "").lower()
    # fileId is the form that goes on meaning this file when the version gets others.
    url = f"{CIVITAI}/api/download/models/{found['version']}?fileId={entry['id']}"
    size = whole_bytes(entry.get("sizeKB"))
    if not sha256 or size is None:
        content = asker.content(url)
        sha256, size = content.sha256, content.size
    pin = Pin(path=str(entry["name"]), url=url, sha256=sha256, size=size)
    return LockedModel(**model.model_dump(), revision=found["version"], pins=(pin,), card=card(version))


def card(version: dict[str, Any]) -> Card:
    """What Civitai tells of a version; of its pictures the first that anybody may see."""
    base = str(version.get("baseModel") or "")
    found: BaseVersion = next((name for prefix, name in BASES if base.startswith(prefix)), "Unknown")
    images = [image for image in version.get("images") or [] if image.get("type", "image") == "image"]
    harmless = [str(image["url"]) for image in images if image.get("nsfwLevel", HARMLESS + 1) <= HARMLESS]
    page = f"{CIVITAI}/models/{version['modelId']}?modelVersionId={version['id']}" if version.get("modelId") else ""
    words = tuple(str(word) for word in version.get("trainedWords") or [])
    return Card(version=found, words=words, page=page, preview=harmless[0] if harmless else "")


def chosen(version: dict[str, Any], file: str | None) -> dict[str, Any]:
    """The file of a version: the one asked for, else the primary one. Raises SourceError."""
    files: list[dict[str, Any]] = version.get("files") or []
    fits = [entry for entry in files if (str(entry["id"]) == file if file else entry.get("primary"))]
    if not fits:
        known = ", ".join(f"{entry['id']} ({entry['name']})" for entry in files)
        raise SourceError(f"the version has no file {file or 'marked as primary'}; it has {known or 'none'}")
    return fits[0]


def whole_bytes(kilobytes: Any) -> int | None:
    """Civitai gives sizes as a fraction of KiB; None if that is no whole number of bytes."""
    if not isinstance(kilobytes, int | float):
        return None
    size = round(kilobytes * 1024)
    return size if abs(size - kilobytes * 1024) < 1e-3 else None
