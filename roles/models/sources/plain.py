"""Plain addresses: https://..., http://..., and file:PATH on the controller."""

import hashlib
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from roles import names
from roles.models.config import ADOPTED, LockedModel, Model, Pin
from roles.models.sizes import format_bytes
from roles.models.sources.web import HubClient, SourceError
from training.usable_path import usable_path

LARGEST_PUSH = 2 * 10**9
"""Bytes of the largest file the controller sends; the engine sends some 70 MB/s for all hosts together."""


def file_name(url: str) -> str:
    """Name of the file at a URL; ValueError if it has none."""
    return names.file_path(unquote(PurePosixPath(urlsplit(url).path).name))


def local_path(model: Model, here: Path) -> Path:
    """The controller's file that a file: source names; a relative path counts from `here`, fleet.toml's folder."""
    return here / usable_path(model.source.removeprefix("file:"))


def unsendable(path: Path) -> str:
    """Why the controller can't send a file of its own to hosts; empty if it can."""
    if not path.is_file():
        return f"there is no file {path} on this machine"
    if (size := path.stat().st_size) > LARGEST_PUSH:
        return (
            f"{path} has {format_bytes(size)}; the controller sends files up to {format_bytes(LARGEST_PUSH)}: put it "
            "on a web server that the hosts reach and name its URL, or on one host and name it as host:NAME/PATH"
        )
    return ""


def local_file(model: Model, here: Path) -> Path:
    """The file that a file: source names. Raises SourceError if it is not there, or can't be sent to hosts."""
    path = local_path(model, here)
    if why := unsendable(path):
        raise SourceError(why)
    return path


def resolve_url(model: Model, client: HubClient) -> LockedModel:
    """Read the URL once, to learn its hash; a server may not change what stands there after. Raises SourceError.

    With a sha256 in fleet.toml, asking for the size is enough.
    """
    if model.sha256:
        promised = client.head(model.source).headers.get("Content-Length", "")
        size = int(promised) if promised.isdigit() else None
        pin = Pin(path=file_name(model.source), url=model.source, sha256=model.sha256, size=size)
    else:
        content = client.content(model.source)
        pin = Pin(path=file_name(model.source), url=model.source, sha256=content.sha256, size=content.size)
    return LockedModel(**model.model_dump(), pins=(pin,))


def resolve_adopted(model: Model, client: HubClient) -> LockedModel:
    """What fleet.toml says is all there is to know."""
    assert model.sha256 is not None, "the model is validated"
    path = names.file_path(model.source.removeprefix(ADOPTED))
    return LockedModel(**model.model_dump(), pins=(Pin(path=path, url=f"file:{path}", sha256=model.sha256),))


def resolve_file(model: Model, client: HubClient) -> LockedModel:
    """Hash a local file. Raises SourceError."""
    path = local_file(model, client.here)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    pin = Pin(path=path.name, url=model.source, sha256=digest.hexdigest(), size=path.stat().st_size)
    return LockedModel(**model.model_dump(), pins=(pin,))
