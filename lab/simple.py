"""Pages of Python package indexes (the simple API, PEP 503 and 691): read any, write HTML."""

import html
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
SUFFIXES = (".whl", ".tar.gz", ".zip", ".tar.bz2")
HTML = "text/html; charset=utf-8"


@dataclass(frozen=True)
class Link:
    """One file of a project on an index."""

    filename: str
    url: str
    """http(s) or file, without fragment."""
    sha256: str | None = None
    requires_python: str | None = None
    yanked: str | None = None
    """The reason, maybe empty; None if it is not yanked."""
    has_metadata: bool = False
    """Whether the index also serves its METADATA as URL.metadata (PEP 658)."""


def normalize(name: str) -> str:
    """A project's normalized name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def project_of(filename: str) -> str:
    """The project of a wheel or source archive, from its file name (PEP 427, PEP 625)."""
    if filename.endswith(".whl"):
        return normalize(filename.split("-")[0])
    return normalize(re.split(r"-\d", filename)[0])


def parse(page: str, url: str) -> list[Link]:
    """The files on a project's page at `url`, without other links."""
    links = _parse_json(page, url) if page.lstrip().startswith("{") else _parse_html(page, url)
    return [link for link in links if link.filename.endswith(SUFFIXES)]


def _parse_json(page: str, url: str) -> list[Link]:
    links = []
    for file in json.loads(page)["files"]:
        yanked = file.get("yanked", False)
        links.append(
            Link(
                filename=file["filename"],
                url=urldefrag(urljoin(url, file["url"])).url,
                sha256=file.get("hashes", {}).get("sha256"),
                requires_python=file.get("requires-python"),
                yanked=None if yanked is False else yanked if isinstance(yanked, str) else "",
                has_metadata=bool(file.get("core-metadata") or file.get("dist-info-metadata")),
            )
        )
    return links


class _Anchors(HTMLParser):
    """Collects the attributes of every <a>."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called by HTMLParser."""
        if tag == "a":
            self.found.append(dict(attrs))


def _parse_html(page: str, url: str) -> list[Link]:
    anchors = _Anchors()
    anchors.feed(page)
    links = []
    for attributes in anchors.found:
        target, fragment = urldefrag(urljoin(url, attributes.get("href") or ""))
        kind, _, digest = fragment.partition("=")
        yanked = attributes.get("data-yanked", "") if "data-yanked" in attributes else None
        links.append(
            Link(
                filename=unquote(target.rpartition("/")[2]),
                url=target,
                sha256=digest if kind == "sha256" else None,
                requires_python=attributes.get("data-requires-python"),
                yanked=yanked or ("" if "data-yanked" in attributes else None),
                has_metadata=bool({"data-core-metadata", "data-dist-info-metadata"} & attributes.keys()),
            )
        )
    return links


def folder_links(folder: Path) -> list[Link]:
    """The files in a find-links folder."""
    return [Link(file.name, file.as_uri()) for file in sorted(folder.iterdir()) if file.name.endswith(SUFFIXES)]


def render(project: str, links: Iterable[Link]) -> str:
    """A project's page; its files are below /files/PROJECT/, each wheel with its metadata beside it."""
    lines = []
    for link in links:
        fragment = f"#sha256={link.sha256}" if link.sha256 else ""
        attributes = {"href": f"/files/{project}/{link.filename}{fragment}"}
        if link.requires_python:
            attributes["data-requires-python"] = link.requires_python
        if link.yanked is not None:
            attributes["data-yanked"] = link.yanked
        if link.filename.endswith(".whl"):
            attributes |= {"data-core-metadata": "true", "data-dist-info-metadata": "true"}
        written = " ".join(f'{key}="{html.escape(value)}"' for key, value in attributes.items())
        lines.append(f"<a {written}>{html.escape(link.filename)}</a><br/>")
    title = f"Links for {html.escape(project)}"
    head = f'<meta name="pypi:repository-version" content="1.0"><title>{title}</title>'
    return f"<!DOCTYPE html>\n<html><head>{head}</head><body>\n{chr(10).join(lines)}\n</body></html>\n"
