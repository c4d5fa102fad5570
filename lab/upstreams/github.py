"""GitHub behind a proxy in ghproxy's URL shape: /https://github.com/OWNER/NAME, served by git's own http-backend."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lab.upstreams.http import CHUNK, Content, Reply, Request, dispatch, file, text
from lab.upstreams.repositories import configuration

_PREFIX = r"/https:/{1,2}github\.com/(?P<repository>[\w.-]+/[\w.-]+?)"
_RAW = r"/https:/{1,2}raw\.githubusercontent\.com/(?P<repository>[\w.-]+/[\w.-]+)"
_SETTINGS = configuration(
    {"safe.directory": "*", "uploadpack.allowAnySHA1InWant": "true", "uploadpack.allowFilter": "true"}
)
"""Settings of GitHub's own server, which override a repository's."""
_SUFFIXES = {"zip": "application/zip", "tar.gz": "application/gzip"}


class GitHub:
    """Bare repositories below folders, as OWNER/NAME.git; the first folder that has one serves it."""

    def __init__(self, *folders: Path) -> None:
        self.folders = folders
        archive = r"/archive/(refs/(heads|tags)/)?(?P<ref>.+?)\.(?P<suffix>zip|tar\.gz)"
        self._routes = (
            (re.compile(_PREFIX + r"(\.git)?/(?P<rest>info/refs|git-upload-pack)"), self._git),
            (re.compile(_PREFIX + archive), self._archive),
            (re.compile(_PREFIX + r"(\.git)?/?"), self._page),
            (re.compile(_RAW + r"/(?P<ref>[^/]+)/(?P<path>.+)"), self._raw),
        )

    def __call__(self, request: Request) -> Reply:
        """The reply; 404 for an unknown path, never a question for a password."""
        return dispatch(self._routes, request)

    def _bare(self, repository: str) -> Path | None:
        places = (folder / f"{repository}.git" for folder in self.folders)
        return next((place for place in places if place.is_dir()), None)

    def _page(self, request: Request, repository: str) -> Reply:
        found = self._bare(repository)
        return text(200, f"{repository} (stand-in)") if found else text(404, "Not Found")

    def _git(self, request: Request, repository: str, rest: str) -> Reply:
        # The dumb protocol, which asks without a service, and pushing are not offered.
        service = request.query.get("service", "git-upload-pack") if rest == "info/refs" else rest
        bare = self._bare(repository)
        if bare is None or service != "git-upload-pack":
            return text(404, "Not Found")
        headers = request.headers
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "GIT_PROJECT_ROOT": str(bare.parent),
            "GIT_HTTP_EXPORT_ALL": "1",
            **_SETTINGS,
            "PATH_INFO": f"/{bare.name}/{rest}",
            "REQUEST_METHOD": request.method,
            "QUERY_STRING": request.raw_query,
            "CONTENT_TYPE": headers.get("Content-Type", ""),
            "CONTENT_LENGTH": headers.get("Content-Length", ""),
            "HTTP_CONTENT_ENCODING": headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": headers.get("Git-Protocol", ""),
        }
        return _cgi(["git", "http-backend"], environment, request)

    def _archive(self, request: Request, repository: str, ref: str, suffix: str) -> Reply:
        prefix = f"{repository.partition('/')[2]}-{ref}/"
        data = self._output(repository, "archive", f"--format={suffix}", f"--prefix={prefix}", ref)
        if data is None:
            return text(404, "Not Found")
        return file(Content(data), {"Content-Type": _SUFFIXES[suffix]})

    def _raw(self, request: Request, repository: str, ref: str, path: str) -> Reply:
        data = self._output(repository, "show", f"{ref}:{path}")
        return text(404, "404: Not Found") if data is None else file(Content(data))

    def _output(self, repository: str, *command: str) -> bytes | None:
        if not (bare := self._bare(repository)):
            return None
        done = subprocess.run(
            ["git", "-c", f"safe.directory={bare}", "-C", str(bare), *command], capture_output=True, check=False
        )
        return None if done.returncode else done.stdout


def _cgi(command: list[str], environment: dict[str, str], request: Request) -> Reply:
    with tempfile.TemporaryFile() as body:
        body.write(request.body.read())
        body.seek(0)
        process = subprocess.Popen(command, env=environment, stdin=body, stdout=subprocess.PIPE)
    assert process.stdout is not None
    reply = Reply()
    while line := process.stdout.readline().strip():
        name, _, value = line.decode().partition(":")
        if name.lower() == "status":
            reply.status = int(value.split()[0])
        else:
            reply.headers[name] = value.strip()
    reply.body = _drain(process)
    return reply


def _drain(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    assert process.stdout is not None
    try:
        while chunk := process.stdout.read(CHUNK):
            yield chunk
    finally:
        process.stdout.close()
        process.wait()
