"""A Hugging Face endpoint for models: the part that huggingface_hub uses for downloads."""

import re
from typing import Any

from lab.upstreams.http import Content, Reply, Request, as_json, dispatch, file, redirect
from lab.upstreams.hub import Cdn, Hub, HubFile, Revision

TOKEN = "hf_lab_token"
"""The token that opens gated repositories."""

_TRUE = ("true", "True", "1")
_REPOSITORY = r"(?P<repository>[\w.-]+/[\w.-]+)"


class HuggingFace:
    """Serves a `Hub` the way huggingface.co does; large files are redirected to a `Cdn`."""

    def __init__(self, hub: Hub, cdn: Cdn) -> None:
        self.hub = hub
        self.cdn = cdn
        api = rf"/api/models/{_REPOSITORY}"
        self._routes = (
            (re.compile(rf"/{_REPOSITORY}/resolve/(?P<revision>[^/]+)/(?P<name>.+)"), self._resolve),
            (re.compile(rf"{api}/tree/(?P<revision>[^/]+)(?P<folder>/.*)?"), self._tree),
            (re.compile(rf"{api}(/revision/(?P<revision>[^/]+))?"), self._info),
        )

    def __call__(self, request: Request) -> Reply:
        """The reply; errors have X-Error-Code, by which the client distinguishes them."""
        return dispatch(self._routes, request)

    def _open(self, request: Request, repository: str, name: str | None) -> Revision | Reply:
        if not self.hub.branches(repository):
            return _error(401, "RepoNotFound", "Invalid username or password.")
        if self.hub.gated(repository) and request.bearer != TOKEN:
            status = 401 if request.bearer is None else 403
            return _error(status, "GatedRepo", f"Access to model {repository} is restricted.")
        return self.hub.revision(repository, name or "main") or _error(
            404, "RevisionNotFound", f"Invalid rev id: {name}"
        )

    def _resolve(self, request: Request, repository: str, revision: str, name: str) -> Reply:
        opened = self._open(request, repository, revision)
        if isinstance(opened, Reply):
            return opened
        headers = {"X-Repo-Commit": opened.commit}
        found = opened.find(name)
        if not found:
            return _error(404, "EntryNotFound", "Entry not found", headers)
        if not found.large:
            return file(Content(found.path), {**headers, "ETag": f'"{found.blob_id}"'})
        headers |= {"X-Linked-Size": str(found.size), "X-Linked-ETag": f'"{found.sha256}"'}
        return redirect(self.cdn.link(request, found), headers=headers)

    def _info(self, request: Request, repository: str, revision: str | None) -> Reply:
        opened = self._open(request, repository, revision)
        if isinstance(opened, Reply):
            return opened
        detailed = request.query.get("blobs") in _TRUE
        return as_json(
            {
                "_id": opened.commit[:24],
                "id": repository,
                "modelId": repository,
                "author": repository.partition("/")[0],
                "sha": opened.commit,
                "private": False,
                "gated": "manual" if self.hub.gated(repository) else False,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "lastModified": "2026-01-01T00:00:00.000Z",
                "createdAt": "2026-01-01T00:00:00.000Z",
                "siblings": [_sibling(file, detailed) for file in opened.files],
            },
            headers={"X-Repo-Commit": opened.commit},
        )

    def _tree(self, request: Request, repository: str, revision: str, folder: str | None) -> Reply:
        opened = self._open(request, repository, revision)
        if isinstance(opened, Reply):
            return opened
        prefix = f"{folder.strip('/')}/" if folder and folder.strip("/") else ""
        below = [file for file in opened.files if file.name.startswith(prefix)]
        if request.query.get("recursive") in _TRUE:
            entries = [_entry(file) for file in below]
        else:
            names = {file: file.name.removeprefix(prefix).split("/") for file in below}
            folders = sorted({parts[0] for parts in names.values() if len(parts) > 1})
            entries = [_entry(file) for file, parts in names.items() if len(parts) == 1]
            entries += [{"type": "directory", "oid": opened.commit, "size": 0, "path": prefix + f} for f in folders]
        return as_json(entries, headers={"X-Repo-Commit": opened.commit})


def _sibling(content: HubFile, detailed: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"rfilename": content.name}
    if detailed:
        entry |= {"size": content.size, "blobId": content.blob_id}
        if content.large:
            entry["lfs"] = {"sha256": content.sha256, "size": content.size, "pointerSize": 135}
    return entry


def _entry(content: HubFile) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "oid": content.blob_id, "size": content.size, "path": content.name}
    if content.large:
        entry["lfs"] = {"oid": content.sha256, "size": content.size, "pointerSize": 135}
    return entry


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Reply:
    return as_json({"error": message}, status, {"X-Error-Code": code, "X-Error-Message": message, **(headers or {})})
