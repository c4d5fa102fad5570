"""Hugging Face: hf:OWNER/REPO/FILE[@REVISION], or hf:OWNER/REPO[@REVISION] for several files of a repository."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import quote

from pydantic import Field

from roles import names
from roles.models.config import LockedModel, Model, Pin
from roles.models.sources.web import HubAnswer, HubClient, SourceError
from roles.token_services import HUGGINGFACE

COMMIT = re.compile(r"[0-9a-f]{40}")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Address:
    """What a hf: source names."""

    repository: str
    """OWNER/REPO."""
    path: str
    """File in the repository; "" for the repository itself."""
    revision: str = "main"

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which never moves."""
        return COMMIT.fullmatch(self.revision) is not None

    def url(self, path: str, revision: str = "") -> str:
        """Where the origin serves a file of the repository."""
        return f"{HUGGINGFACE}/{self.repository}/resolve/{quote(revision or self.revision, safe='')}/{quote(path)}"


class _File(HubAnswer):
    rfilename: names.FilePath


class _Info(HubAnswer):
    """What the hub says of a repository at a revision."""

    sha: names.Commit
    siblings: list[_File] = Field(default=[])


def parse_source(source: str) -> Address:
    """The address in a hf: source; ValueError if it has no OWNER/REPO."""
    rest, _, revision = source.removeprefix("hf:").partition("@")
    owner, _, rest = rest.partition("/")
    name, _, path = rest.partition("/")
    if not owner or not name:
        raise ValueError(f"{source!r} is not hf:OWNER/REPO/FILE[@REVISION]")
    repository = names.repository(f"{owner}/{name}")
    return Address(repository, path and names.file_path(path), names.revision(revision or "main"))


def cache_folder(repository: str) -> str:
    """Name of a repository's folder in the Hugging Face cache."""
    return "models--" + repository.replace("/", "--")


def resolve(model: Model, client: HubClient) -> LockedModel:
    """What a model's source stands for now. Raises SourceError."""
    address = parse_source(model.source)
    commit, paths = address.revision, [address.path]
    if not address.path or not address.pinned:
        where = f"{HUGGINGFACE}/api/models/{address.repository}/revision/{quote(address.revision, safe='')}"
        info = client.json(where, _Info)
        if address.pinned and info.sha != address.revision:
            raise SourceError(f"asked for commit {address.revision}, its endpoint answers with {info.sha}")
        commit = info.sha
        if not address.path:
            listed = [entry.rfilename for entry in info.siblings]
            paths = sorted(path for path in listed if any(fnmatchcase(path, pattern) for pattern in model.files))
            _refuse_gaps(model, listed)
    pins = [_pin(address, path, commit, client) for path in paths]
    return LockedModel(**model.model_dump(), revision=commit, pins=tuple(pins))


def _refuse_gaps(model: Model, listed: list[str]) -> None:
    if not model.files:
        raise SourceError('its source names a whole repository; name the wanted files, e.g. files = ["*.json"]')
    for pattern in model.files:
        if not any(fnmatchcase(path, pattern) for path in listed):
            raise SourceError(f"the repository has no file {pattern!r}; it has {', '.join(sorted(listed)[:20])}")


def _pin(address: Address, path: str, commit: str, client: HubClient) -> Pin:
    """Size and sha256 stand in the headers for large files; small ones, which live in git, are read."""
    url = address.url(path, commit)
    answer = client.head(url)
    sha256 = answer.headers.get("X-Linked-Etag", "").strip('"')
    size = answer.headers.get("X-Linked-Size", "")
    if SHA256.fullmatch(sha256) and size.isdigit():
        return Pin(path=path, url=url, sha256=sha256, size=int(size))
    content = client.content(url)
    etag = answer.headers.get("ETag", "").removeprefix("W/").strip('"')
    if COMMIT.fullmatch(etag) and content.git_id not in (etag, ""):
        raise SourceError(f"{path}: what is sent is not what its ETag says; try another endpoint")
    return Pin(path=path, url=url, sha256=content.sha256, size=content.size)
