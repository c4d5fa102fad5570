"""Plain addresses: https://..., http://..., and file:PATH on the controller."""

import hashlib
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from roles import names
from roles.models.config import LockedModel, Model, Pin
from roles.models.sources.web import Asker, SourceError


def file_name(url: str) -> str:
    """Name of the file at a URL; ValueError if it has none."""
    return names.file_path(unquote(PurePosixPath(urlsplit(url).path).name))


def local_file(model: Model) -> Path:
    """The controller's file that a file: source names. Raises SourceError if there is none."""
    path = Path(model.source.removeprefix("file:")).expanduser()
    if not path.is_file():
        raise SourceError(f"there is no file {path} on this machine")
    return path


def resolve_url(model: Model, asker: Asker) -> LockedModel:
    """Read the URL once, to learn its hash; a server may not change what stands there after. Raises SourceError.

    With a sha256 in fleet.toml, asking for the size is enough.
    """
    if model.sha256:
        promised = asker.head(model.source).headers.get("Content-Length", "")
        size = int(promised) if promised.isdigit() else None
        pin = Pin(path=file_name(model.source), url=model.source, sha256=model.sha256, size=size)
    else:
        content = asker.content(model.source)
        pin = Pin(path=file_name(model.source), url=model.source, sha256=content.sha256, size=content.size)
    return LockedModel(**model.model_dump(), pins=(pin,))


def resolve_file(model: Model, asker: Asker) -> LockedModel:
    """Hash a local file. Raises SourceError."""
    path = local_file(model)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    pin = Pin(path=path.name, url=model.source, sha256=digest.hexdigest(), size=path.stat().st_size)
    return LockedModel(**model.model_dump(), pins=(pin,))
