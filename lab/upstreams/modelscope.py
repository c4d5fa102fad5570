"""A ModelScope endpoint for models: the part that its client uses for downloads."""

import re
from http.cookies import SimpleCookie
from typing import Any

from lab.upstreams.http import Content, Reply, Request, as_json, dispatch, file, redirect
from lab.upstreams.hub import Cdn, Hub, HubFile, Revision

TOKEN = "ms_lab_token"
"""The session token that opens gated repositories."""

BRANCH = "master"
"""ModelScope's default branch; the hub's folder calls it main."""


class ModelScope:
    """Serves a `Hub` the way modelscope.cn does; large files are redirected to a `Cdn`."""

    def __init__(self, hub: Hub, cdn: Cdn) -> None:
        self.hub = hub
        self.cdn = cdn
        repository = r"(?P<repository>[\w.-]+/[\w.-]+)"
        api = rf"/api/v1/models/{repository}"
        self._routes = (
            (re.compile(rf"{api}/repo/files"), self._list),
            (re.compile(rf"{api}/repo"), self._download),
            (re.compile(rf"{api}/revisions"), self._revisions),
            (re.compile(api), self._info),
            (re.compile(rf"/models/{repository}/resolve/(?P<revision>[^/]+)/(?P<name>.+)"), self._resolve),
        )

    def __call__(self, request: Request) -> Reply:
        """The reply; JSON ones are wrapped as {"Code", "Success", "Message", "Data"}."""
        return dispatch(self._routes, request)

    def _open(self, request: Request, repository: str, revision: str | None) -> Revision | Reply:
        if not self.hub.branches(repository):
            return _failure(404, 10010205001, f"Not found: {repository}")
        if self.hub.gated(repository) and TOKEN not in (request.bearer, _session(request)):
            return _failure(401, 10010101006, "Unauthorized")
        branch = "main" if revision in (None, BRANCH) else str(revision)
        return self.hub.revision(repository, branch) or _failure(404, 10010203001, f"No revision {revision}")

    def _list(self, request: Request, repository: str) -> Reply:
        revision = request.query.get("Revision")
        opened = self._open(request, repository, revision)
        if isinstance(opened, Reply):
            return opened
        root = request.query.get("Root", "").strip("/")
        inside = [content for content in opened.files if not root or content.name.startswith(f"{root}/")]
        # Listings by commit id have no hashes, as in the original.
        entries = [_entry(content, opened, hashed=revision != opened.commit) for content in inside]
        folders = sorted({content.name.rpartition("/")[0] for content in inside} - {""})
        entries += [{"Name": name.split("/")[-1], "Path": name, "Type": "tree", "Size": 0} for name in folders]
        return _success({"Files": entries, "IsVisual": 0, "LatestCommitter": None})

    def _download(self, request: Request, repository: str) -> Reply:
        query = request.query
        return self._send(request, repository, query.get("Revision"), query.get("FilePath", ""))

    def _resolve(self, request: Request, repository: str, revision: str, name: str) -> Reply:
        return self._send(request, repository, revision, name)

    def _send(self, request: Request, repository: str, revision: str | None, name: str) -> Reply:
        opened = self._open(request, repository, revision)
        if isinstance(opened, Reply):
            return opened
        found = opened.find(name)
        if not found:
            return _failure(404, 10010206002, f"File not found: {name}")
        if found.large:
            return redirect(self.cdn.link(request, found))
        return file(Content(found.path), {"ETag": f'"{found.sha256}"'})

    def _revisions(self, request: Request, repository: str) -> Reply:
        opened = self._open(request, repository, None)
        if isinstance(opened, Reply):
            return opened
        branches = [{"Revision": BRANCH, "CreatedAt": 1767225600, "Type": "branch"}]
        return _success({"RevisionMap": {"Branches": branches, "Tags": []}})

    def _info(self, request: Request, repository: str) -> Reply:
        opened = self._open(request, repository, None)
        if isinstance(opened, Reply):
            return opened
        owner, _, name = repository.partition("/")
        return _success({"Id": 1, "Name": name, "Path": owner, "Revision": BRANCH, "Visibility": 5})


def _session(request: Request) -> str | None:
    cookie = SimpleCookie(request.headers.get("Cookie", "")).get("m_session_id")
    return cookie.value if cookie else None


def _entry(content: HubFile, revision: Revision, hashed: bool) -> dict[str, Any]:
    return {
        "Name": content.name.split("/")[-1],
        "Path": content.name,
        "Type": "blob",
        "Size": content.size,
        "Sha256": content.sha256 if hashed else "",
        "IsLFS": content.large,
        "Revision": revision.commit,
        "CommittedDate": 1767225600,
    }


def _success(data: object) -> Reply:
    return as_json({"Code": 200, "Success": True, "Message": "success", "RequestId": "lab", "Data": data})


def _failure(status: int, code: int, message: str) -> Reply:
    return as_json({"Code": code, "Success": False, "Message": message, "RequestId": "lab", "Data": None}, status)
