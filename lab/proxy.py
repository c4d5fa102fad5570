"""The lab's package proxy: an HTTP proxy for apt, and a Python package index.

Runs in the machine's network, with listening sockets that were opened inside the lab's network and on
loopback: hosts need no route, no DNS and no certificates. `python -m lab.proxy [--gpu-builds] FD ...`.
"""

import re
import shutil
import socket
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests
from mousebender.simple import ACCEPT_JSON_V1
from packaging.utils import canonicalize_name

from lab import rootfs, simple
from lab.downloads import Download, Downloads
from lab.orders import GPU_BUILDS
from lab.packages import PAGE_SECONDS, Packages
from lab.pipconfig import PipConfig
from lab.state import cache_folder

SIMPLE = re.compile(r"/(?:simple|torch/[a-z0-9.]+)/([A-Za-z0-9._-]+)/?")
"""A project's page; torch's builds (cu121, cpu, ...) are all the same CPU build here."""
FILE = re.compile(r"/files/([a-z0-9-]+)/([^/]+)")
IMMUTABLE = ("/pool/", "/by-hash/")
"""Parts of paths in a Debian archive whose content never changes."""
OCTETS = "application/octet-stream"


class Refused(Exception):
    """A request is answered with a status and a sentence."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class Proxy:
    """State shared by all requests."""

    def __init__(self, cache: Path, config: PipConfig, gpu_builds: bool = False) -> None:
        archive = requests.Session()
        if apt_proxy := rootfs.machine_apt_proxy():
            archive.proxies["http"] = apt_proxy
        self.archive = Downloads(cache / "apt", archive)
        self.packages = Packages.open(cache, config, gpu_builds)

    def answer(self, target: str) -> tuple[str, bytes | Path | Download]:
        """Content type and body for a request's target. Raises Refused, or the upstream's error."""
        if target.startswith("http://"):
            return OCTETS, self._archive(target)
        path = unquote(urlsplit(target).path)
        if match := SIMPLE.fullmatch(path):
            project = canonicalize_name(match[1])
            links = self.packages.links(project)
            if not links:
                raise Refused(HTTPStatus.NOT_FOUND, f"no index of this machine has {project}")
            return ACCEPT_JSON_V1, simple.render(project, links).encode()
        if match := FILE.fullmatch(path):
            return OCTETS, self._file(match[1], match[2])
        archive, _, rest = path.removeprefix("/").partition("/")
        if archive in rootfs.ARCHIVES:
            return OCTETS, self._archive(f"{rootfs.ARCHIVES[archive]}/{rest}")
        raise Refused(HTTPStatus.NOT_FOUND, "this server has /simple/PROJECT/, /debian/, and a proxy for apt")

    def _archive(self, url: str) -> Path | Download:
        if not url.startswith(tuple(f"{archive}/" for archive in rootfs.ARCHIVES.values())):
            raise Refused(HTTPStatus.FORBIDDEN, f"the lab only downloads from {', '.join(rootfs.ARCHIVES.values())}")
        return self.archive.get(url, None if any(part in url for part in IMMUTABLE) else PAGE_SECONDS)

    def _file(self, project: str, name: str) -> bytes | Path | Download:
        wheel = name.removesuffix(".metadata")
        for link in self.packages.links(project):
            if link.filename == wheel:
                return self.packages.file(link) if wheel == name else self.packages.metadata(link)
        raise Refused(HTTPStatus.NOT_FOUND, f"no index of this machine has {wheel}")


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    proxy: Proxy
    """Set once, before the first request."""

    def do_GET(self) -> None:
        """Answer a GET or HEAD."""
        try:
            kind, body = self.proxy.answer(self.path)
        except Refused as refused:
            self.send_error(refused.status, explain=str(refused))
        except requests.HTTPError as error:
            self.send_error(error.response.status_code, explain=str(error))
        except (OSError, ValueError) as error:
            self.log_error("%s: %s", self.path, error)
            self.send_error(HTTPStatus.BAD_GATEWAY, explain=str(error))
        else:
            self._send(kind, body)

    do_HEAD = do_GET

    def _send(self, kind: str, body: bytes | Path | Download) -> None:
        if isinstance(body, Download) and body.size is None:
            for _ in body.chunks():
                pass
            body = body.final
        size = body.stat().st_size if isinstance(body, Path) else body.size if isinstance(body, Download) else len(body)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.log_message("%s %s", self.path, size)
        try:
            if isinstance(body, bytes):
                self.wfile.write(body)
            elif isinstance(body, Path):
                with body.open("rb") as file:
                    shutil.copyfileobj(file, self.wfile, 1 << 18)
            else:
                for chunk in body.chunks():
                    self.wfile.write(chunk)
        except (OSError, requests.RequestException) as error:
            # The headers are sent already, so the only way to report an error is a truncated body.
            self.log_error("%s: %s", self.path, error)
            self.close_connection = True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Do not log successes here: `_send` knows their bytes."""


class Server(ThreadingHTTPServer):
    """A server on a socket that already listens."""

    daemon_threads = True

    def __init__(self, fd: int) -> None:
        listener = socket.socket(fileno=fd)
        super().__init__(listener.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener


def main(files: list[int], gpu_builds: bool) -> None:
    """Serve forever on the listening sockets with these file descriptors."""
    Handler.proxy = Proxy(cache_folder() / "downloads", PipConfig.of_this_machine(), gpu_builds)
    threads = [threading.Thread(target=Server(fd).serve_forever) for fd in files]
    for thread in threads:
        thread.start()


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:] if word != GPU_BUILDS], GPU_BUILDS in sys.argv[1:])
