"""Pages of Python package indexes (the simple API, PEP 503 and 691): read any, write JSON."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin

from mousebender.simple import ACCEPT_JSON_V1, from_project_details_html
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

ACCEPT = f"{ACCEPT_JSON_V1}, text/html;q=0.5"
SUFFIXES = (".whl", ".tar.gz", ".zip", ".tar.bz2")


@dataclass(frozen=True)
class Link:
    """One file of a project on an index."""

    filename: str
    url: str
    """http(s) or file, without fragment."""
    sha256: str | None = None
    requires_python: str | None = None
    yanked: bool | str = False
    """The reason, if one is given."""
    has_metadata: bool = False
    """Whether the index also serves its METADATA as URL.metadata (PEP 658)."""


def project_of(filename: str) -> str | None:
    """The normalized name of the project of a wheel or source archive; None if its name follows no standard."""
    try:
        return parse_wheel_filename(filename)[0] if filename.endswith(".whl") else parse_sdist_filename(filename)[0]
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None


def parse(page: str, url: str) -> list[Link]:
    """The files on a project's page at `url`, without other links."""
    found: Any = json.loads(page) if page.lstrip().startswith("{") else from_project_details_html(page, "")
    return [_link(file, url) for file in found["files"] if file["filename"].endswith(SUFFIXES)]


def _link(file: dict[str, Any], url: str) -> Link:
    return Link(
        filename=file["filename"],
        url=urldefrag(urljoin(url, file["url"])).url,
        sha256=file.get("hashes", {}).get("sha256"),
        requires_python=file.get("requires-python"),
        yanked=file.get("yanked", False),
        has_metadata=bool(file.get("core-metadata") or file.get("dist-info-metadata")),
    )


def folder_links(folder: Path) -> list[Link]:
    """The files in a find-links folder."""
    return [Link(file.name, file.as_uri()) for file in sorted(folder.iterdir()) if file.name.endswith(SUFFIXES)]


def render(project: str, links: Iterable[Link]) -> str:
    """A project's page; its files are below /files/PROJECT/, each wheel with its metadata beside it."""
    files = [
        {
            "filename": link.filename,
            "url": f"/files/{project}/{link.filename}",
            "hashes": {"sha256": link.sha256} if link.sha256 else {},
            "requires-python": link.requires_python,
            "yanked": link.yanked,
            "core-metadata": link.filename.endswith(".whl"),
        }
        for link in links
    ]
    return json.dumps({"meta": {"api-version": "1.0"}, "name": canonicalize_name(project), "files": files})
