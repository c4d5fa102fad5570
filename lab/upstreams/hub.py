"""The files of a model hub, and the storage host of its signed links."""

import hashlib
import hmac
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from lab.upstreams.http import Content, Reply, Request, file, text

LARGE = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".onnx")
"""Suffixes that hubs keep outside git (LFS)."""

GATED = ".gated"
"""A file of this name in a repository's folder means that a token is needed."""

LINK_SECONDS = 3600


@dataclass(frozen=True)
class HubFile:
    """One file of a repository at one revision."""

    name: str
    path: Path
    size: int
    blob_id: str
    """git's id of the content."""
    sha256: str

    @property
    def large(self) -> bool:
        """Whether it is kept outside git."""
        return self.name.endswith(LARGE)


@dataclass(frozen=True)
class Revision:
    """A repository at one revision."""

    repository: str
    commit: str
    files: tuple[HubFile, ...]

    def find(self, name: str) -> HubFile | None:
        """The file of that name."""
        return next((file for file in self.files if file.name == name), None)


class Hub:
    """Repositories below a folder, as OWNER/NAME/BRANCH/FILES; a commit id follows from the files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._hashes: dict[tuple[Path, int, int], tuple[str, str]] = {}

    def branches(self, repository: str) -> dict[str, Revision]:
        """All branches of a repository; none if there is no such repository."""
        home = self.folder / repository
        names = sorted(path.name for path in home.iterdir() if path.is_dir()) if home.is_dir() else []
        return {name: self._read(repository, home / name) for name in names}

    def revision(self, repository: str, name: str) -> Revision | None:
        """A repository at a branch or commit id."""
        branches = self.branches(repository)
        return branches.get(name) or next((r for r in branches.values() if r.commit == name), None)

    def gated(self, repository: str) -> bool:
        """Whether a repository wants a token."""
        return (self.folder / repository / GATED).exists()

    def blob(self, sha256: str) -> Path | None:
        """Any file with that content."""
        for path in self.folder.rglob("*"):
            if path.is_file() and self._hash(path)[1] == sha256:
                return path
        return None

    def describe(self, path: Path, name: str) -> HubFile:
        """A file with its hashes."""
        blob_id, sha256 = self._hash(path)
        return HubFile(name, path, path.stat().st_size, blob_id, sha256)

    def _read(self, repository: str, home: Path) -> Revision:
        paths = sorted(path for path in home.rglob("*") if path.is_file())
        files = tuple(self.describe(path, path.relative_to(home).as_posix()) for path in paths)
        listing = "".join(f"{file.blob_id} {file.name}\n" for file in files)
        return Revision(repository, hashlib.sha1(f"{repository}\n{listing}".encode()).hexdigest(), files)

    def _hash(self, path: Path) -> tuple[str, str]:
        stat = path.stat()
        key = (path, stat.st_mtime_ns, stat.st_size)
        if key not in self._hashes:
            blob, sha = hashlib.sha1(b"blob %d\0" % stat.st_size), hashlib.sha256()
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    blob.update(chunk)
                    sha.update(chunk)
            self._hashes[key] = (blob.hexdigest(), sha.hexdigest())
        return self._hashes[key]


class Cdn:
    """Storage on another host: serves files by signed links, until they expire."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._key = b"sdfleet lab"
        self._paths: dict[str, Path] = {}
        self._lock = threading.Lock()

    def link(self, request: Request, content: HubFile) -> str:
        """A signed URL of `content`, on this host's name and the network's port."""
        with self._lock:
            self._paths[content.sha256] = content.path
        expires = str(int(time.time()) + int(request.headers.get("X-Lab-Link-Seconds", LINK_SECONDS)))
        path = f"/blobs/{content.sha256}/{quote(Path(content.name).name)}"
        query = urlencode({"Expires": expires, "Signature": self._sign(content.sha256, expires)})
        return f"{request.sibling(self.port)}{path}?{query}"

    def __call__(self, request: Request) -> Reply:
        """The content; 403 for an expired or forged link, 400 if a token is sent along as well."""
        if "Authorization" in request.headers:
            return text(400, "InvalidArgument: Only one auth mechanism allowed")
        sha256, query = (request.path.split("/") + [""] * 3)[2], request.query
        expires = query.get("Expires", "0")
        if not hmac.compare_digest(self._sign(sha256, expires), query.get("Signature", "")):
            return text(403, "SignatureDoesNotMatch")
        if int(expires) <= time.time():
            return text(403, "AccessDenied: Request has expired")
        path = self._paths.get(sha256)
        if path is None:
            return text(404, "NoSuchKey")
        return file(Content(path), {"ETag": f'"{sha256[:32]}"'})

    def _sign(self, sha256: str, expires: str) -> str:
        return hmac.new(self._key, f"{sha256} {expires}".encode(), hashlib.sha256).hexdigest()
