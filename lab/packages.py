"""One Python package index merged from all sources of this machine's pip."""

import hashlib
import os
import threading
import time
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import requests

from lab import simple, wheelmeta
from lab.downloads import Download, Downloads
from lab.pipconfig import PipConfig
from lab.simple import Link

PAGE_SECONDS = 600
"""How long an index page is cached."""
CPU_TORCH = "https://download.pytorch.org/whl/cpu"
"""The public index of CPU builds, asked for torch alone, and only if this machine has no wheel of its own."""


class Packages:
    """The merged index."""

    def __init__(self, config: PipConfig, downloads: Downloads, gpu_builds: bool = False) -> None:
        """`gpu_builds`: whether torch's builds for GPUs are offered too, for locks that name one."""
        self.config, self.downloads, self.gpu_builds = config, downloads, gpu_builds
        self.pages: dict[str, tuple[float, list[Link]]] = {}
        self.lock = threading.Lock()

    @classmethod
    def open(cls, cache: Path, config: PipConfig, gpu_builds: bool = False) -> Self:
        """The index with its downloads below `cache`; certificates are trusted as in `config`."""
        session = requests.Session()
        if config.cert:
            session.verify = str(config.cert)
        return cls(config, Downloads(cache / "python", session), gpu_builds)

    def links(self, project: str) -> list[Link]:
        """The files of `project` (normalized name), each filename once; empty if no source has it."""
        with self.lock:
            age, found = self.pages.get(project, (0.0, []))
        if time.monotonic() - age > PAGE_SECONDS or not age:
            found = [_hashed(link) for link in self._merge(project)]
            with self.lock:
                self.pages[project] = (time.monotonic(), found)
        return found

    def _merge(self, project: str) -> list[Link]:
        local = [*self._find_links(project), *self._indexes(project, local=True)]
        if project == "torch" and not self.gpu_builds:
            # Builds for GPUs have gigabytes that no lab host can use, so only sources with CPU builds are asked.
            return [link for link in local if "+cpu" in link.filename] or self._page(CPU_TORCH, project)
        merged: dict[str, Link] = {}
        for link in (*local, *self._indexes(project, local=False)):
            merged.setdefault(link.filename, link)
        return list(merged.values())

    def _find_links(self, project: str) -> list[Link]:
        links: list[Link] = []
        for place in self.config.find_links:
            path = url2pathname(urlsplit(place).path) if place.startswith("file:") else place
            folder = Path(os.path.expanduser(path))  # noqa: PTH111 - as pip does: what it cannot expand stays
            if place.startswith(("http://", "https://")):
                page = self.downloads.path(place, PAGE_SECONDS).read_text(encoding="utf-8")
                links += simple.parse(page, place)
            elif folder.is_dir():
                links += simple.folder_links(folder)
            elif folder.is_file():
                links += simple.parse(folder.read_text(encoding="utf-8"), folder.as_uri())
        return [link for link in links if simple.project_of(link.filename) == project]

    def _indexes(self, project: str, local: bool) -> list[Link]:
        indexes = (self.config.index_url, *self.config.extra_index_urls)
        chosen = [index for index in indexes if index.startswith("file:") == local]
        return [link for index in chosen for link in self._page(index, project)]

    def _page(self, index: str, project: str) -> list[Link]:
        url = f"{index.rstrip('/')}/{project}/"
        if index.startswith("file:"):
            file = _local_path(url) / "index.html"
            return simple.parse(file.read_text(encoding="utf-8"), url) if file.is_file() else []
        try:
            page = self.downloads.path(url, PAGE_SECONDS, {"Accept": simple.ACCEPT})
        except requests.HTTPError as error:
            if error.response.status_code == requests.codes.not_found:
                return []
            raise
        return simple.parse(page.read_text(encoding="utf-8"), url)

    def file(self, link: Link) -> Path | Download:
        """The bytes of a file."""
        if link.url.startswith("file:"):
            return _local_path(link.url)
        return self.downloads.get(link.url, max_age=None)

    def path(self, link: Link) -> Path:
        """A file, after its download."""
        return _local_path(link.url) if link.url.startswith("file:") else self.downloads.path(link.url, max_age=None)

    def metadata(self, link: Link) -> bytes:
        """METADATA of a wheel: from the index, or from the wheel with as few bytes as possible."""
        if link.url.startswith("file:"):
            return wheelmeta.of_wheel(_local_path(link.url))
        if link.has_metadata:
            return self.downloads.path(f"{link.url}.metadata", max_age=None).read_bytes()
        kept = self.downloads.folder / f"{hashlib.sha256(link.url.encode()).hexdigest()}.metadata"
        if not kept.exists():
            try:
                found = wheelmeta.of_remote_wheel(link.url, self.downloads.session)
            except ConnectionError:
                found = wheelmeta.of_wheel(self.downloads.path(link.url, max_age=None))
            part = kept.with_suffix(f".{threading.get_ident()}.part")
            part.write_bytes(found)
            part.replace(kept)
        return kept.read_bytes()


def _local_path(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def _hashed(link: Link) -> Link:
    """`link` with the hash of its file, if the file is on this machine and the index has no hash."""
    if link.sha256 or not link.url.startswith("file:"):
        return link
    path = _local_path(link.url)
    return replace(link, sha256=_sha256(path, path.stat().st_mtime_ns))


@lru_cache(maxsize=1024)
def _sha256(path: Path, mtime: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
