"""A plain web server with downloads: direct, redirected to another host, behind a login."""

import re
from pathlib import Path

from lab.upstreams.http import Content, Reply, Request, dispatch, file, redirect, text
from lab.upstreams.hub import Cdn, Hub

TOKEN = "files_lab_token"
"""The bearer token that opens /private/."""


class PlainFiles:
    """Files of a folder at /NAME, at /linked/NAME (302 to a signed link) and at /private/NAME (401 without a token)."""

    def __init__(self, folder: Path, cdn: Cdn) -> None:
        self.folder = folder
        self.cdn = cdn
        self._hub = Hub(folder)
        self._routes = (
            (re.compile(r"/private/(?P<name>.+)"), self._private),
            (re.compile(r"/linked/(?P<name>.+)"), self._linked),
            (re.compile(r"/(?P<name>.+)"), self._direct),
        )

    def __call__(self, request: Request) -> Reply:
        """The reply."""
        return dispatch(self._routes, request)

    def _find(self, name: str) -> Path | None:
        path = (self.folder / name).resolve()
        return path if path.is_relative_to(self.folder.resolve()) and path.is_file() else None

    def _direct(self, request: Request, name: str) -> Reply:
        if not (path := self._find(name)):
            return text(404, "Not Found")
        stat = path.stat()
        return file(Content(path), {"ETag": f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'})

    def _linked(self, request: Request, name: str) -> Reply:
        if not (path := self._find(name)):
            return text(404, "Not Found")
        return redirect(self.cdn.link(request, self._hub.describe(path, name)))

    def _private(self, request: Request, name: str) -> Reply:
        if request.bearer != TOKEN:
            return text(401, "Unauthorized", {"WWW-Authenticate": "Bearer"})
        return self._direct(request, name)
