"""ModelScope: modelscope:OWNER/NAME/FILE[@REVISION]."""

import re
from urllib.parse import quote, urlencode

from pydantic import Field

from roles import names
from roles.models.config import LockedModel, Model, Pin
from roles.models.sources.web import HubAnswer, HubClient, SourceError
from roles.token_services import MODELSCOPE

SHA256 = re.compile(r"[0-9a-f]{64}")


class _File(HubAnswer):
    path: names.FilePath = Field(alias="Path")
    type: str = Field(alias="Type")
    size: int = Field(alias="Size", ge=0)
    revision: names.Revision | None = Field(default=None, alias="Revision")
    sha256: str | None = Field(default=None, alias="Sha256")


class _Listing(HubAnswer):
    files: list[_File] = Field(alias="Files")


class _Answer(HubAnswer):
    """What ModelScope says of a repository's files."""

    success: bool = Field(default=False, alias="Success")
    message: names.Line | None = Field(default=None, alias="Message")
    data: _Listing | None = Field(default=None, alias="Data")


def parse_source(source: str) -> tuple[str, str, str]:
    """Repository, file and revision of a modelscope: source; ValueError if one of the first two is missing."""
    rest, _, revision = source.removeprefix("modelscope:").partition("@")
    owner, _, rest = rest.partition("/")
    name, _, path = rest.partition("/")
    if not (owner and name and path):
        raise ValueError(f"{source!r} is not modelscope:OWNER/NAME/FILE[@REVISION]")
    return names.repository(f"{owner}/{name}"), names.file_path(path), names.revision(revision or "master")


def url(repository: str, path: str, revision: str) -> str:
    """Where the origin serves a file."""
    query = urlencode({"Revision": revision, "FilePath": path})
    return f"{MODELSCOPE}/api/v1/models/{quote(repository)}/repo?{query}"


def resolve(model: Model, client: HubClient) -> LockedModel:
    """What a model's source stands for now. Raises SourceError."""
    repository, path, revision = parse_source(model.source)
    query = urlencode({"Revision": revision, "Recursive": "true"})
    answer = client.json(f"{MODELSCOPE}/api/v1/models/{quote(repository)}/repo/files?{query}", _Answer)
    if not answer.success or answer.data is None:
        raise SourceError(f"ModelScope says: {answer.message}")
    files = {entry.path: entry for entry in answer.data.files if entry.type != "tree"}
    if path not in files:
        raise SourceError(f"{repository} has no file {path!r}; it has {', '.join(sorted(files)[:20])}")
    entry = files[path]
    # The commit that last changed the file goes on meaning these bytes when the branch moves.
    commit = entry.revision or revision
    address = url(repository, path, commit)
    sha256 = (entry.sha256 or "").lower()
    if not SHA256.fullmatch(sha256):  # listings by commit id leave it out
        sha256 = client.content(address).sha256
    pin = Pin(path=path, url=address, sha256=sha256, size=entry.size)
    return LockedModel(**model.model_dump(), revision=commit, pins=(pin,))
