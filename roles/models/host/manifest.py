"""The manifest: the files of the store, their sources, and their links."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Road:
    """A proxy that is used for some domains alone, and over TLS alone: it sees no token."""

    place: str
    """HOST:PORT"""
    domains: tuple[str, ...]

    def leads_to(self, url: str) -> bool:
        """Whether it is for this address."""
        parts = urlsplit(url)
        name = parts.hostname or ""
        return parts.scheme == "https" and any(name == each or name.endswith(f".{each}") for each in self.domains)


def provider_road(environment: Mapping[str, str]) -> "Road | None":
    """The proxy of the container's provider, if the mirrors role found that it works."""
    url = urlsplit(environment.get("SDFLEET_PROVIDER_PROXY", ""))
    return Road(url.netloc, tuple(environment["SDFLEET_PROVIDER_DOMAINS"].split())) if url.netloc else None


@dataclass(frozen=True)
class Source:
    """A source of a file."""

    url: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    """Sent to the host of `url` only, never after a redirect to another host; may contain secrets."""
    road: "Road | None" = None
    """A proxy of its own."""


@dataclass(frozen=True)
class File:
    """A file of the store."""

    model: str
    """Its name in messages."""
    sha256: str
    size: int | None
    sources: tuple[Source, ...]
    """In the order in which they are tried; empty if the file is pushed into store/partial beforehand."""
    suffix: str = ""
    """Suffix of its link, e.g. .safetensors; decides the checks of answers and file."""

    def over(self, road: Road) -> "File":
        """The file with the addresses that `road` leads to tried over it first, but for those of one's own network."""
        own = next((n for n, each in enumerate(self.sources) if not each.url.startswith("http://")), 0)
        added = [Source(source.url, source.headers, road) for source in self.sources if road.leads_to(source.url)]
        sources = (*self.sources[:own], *added, *self.sources[own:])
        return File(self.model, self.sha256, self.size, sources, self.suffix)

    @property
    def text(self) -> bool:
        """Whether the file is text, so that a JSON answer is not an error."""
        return self.suffix in (".json", ".txt")


@dataclass(frozen=True)
class Manifest:
    """The desired state of a sync."""

    store: Path
    files: tuple[File, ...]
    links: dict[Path, str] = field(default_factory=dict)
    """Symbolic links: path -> sha256 of the target."""
    folders: tuple[Path, ...] = ()
    """Folders in which names may be created and removed; names elsewhere are refused."""
    texts: dict[Path, str] = field(default_factory=dict)
    """Small files with exactly this content (a Hugging Face cache's refs)."""
    cards: dict[Path, dict[str, str]] = field(default_factory=dict)
    """Link -> `notes` and the URL of a `preview`, both written once, when the link is new."""
    unlink: tuple[Path, ...] = ()
    """Names to remove, if they still lead into the store."""
    parallel: int = 4
    """Files fetched at a time."""
    bytes_per_second: float = 0
    """Bandwidth limit over all files; 0 is none."""
    reserve: int = 0
    """Bytes of the file system that must stay free."""


def parse_manifest(text: str) -> Manifest:
    """The manifest in a JSON text; ValueError or KeyError if it is not one, or if a path is outside its folders."""
    raw = json.loads(text)
    folders = tuple(map(Path, raw.get("folders", [])))
    for path in (*raw.get("links", {}), *raw.get("texts", {}), *raw.get("cards", {}), *raw.get("unlink", [])):
        _refuse_outside(path, folders)
    for sha256 in (*raw.get("links", {}).values(), *(entry["sha256"] for entry in raw["files"])):
        if not SHA256.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is no sha256")
    files = tuple(
        File(
            model=entry["model"],
            sha256=entry["sha256"],
            size=entry.get("size"),
            sources=tuple(Source(source["url"], source.get("headers", {})) for source in entry["sources"]),
            suffix=entry.get("suffix", ""),
        )
        for entry in raw["files"]
    )
    return Manifest(
        store=Path(raw["store"]),
        files=files,
        folders=folders,
        links={Path(path): sha256 for path, sha256 in raw.get("links", {}).items()},
        texts={Path(path): content for path, content in raw.get("texts", {}).items()},
        cards={Path(path): card for path, card in raw.get("cards", {}).items()},
        unlink=tuple(Path(path) for path in raw.get("unlink", [])),
        parallel=int(raw.get("parallel", 4)),
        bytes_per_second=float(raw.get("bytes_per_second", 0)),
        reserve=int(raw.get("reserve", 0)),
    )


def _refuse_outside(place: str, folders: tuple[Path, ...]) -> None:
    """ValueError unless a path is below one of the folders; the file system is not consulted."""
    path = Path(place)
    if "\0" in place or ".." in path.parts or not any(folder in path.parents for folder in folders):
        raise ValueError(f"{place!r} is outside the folders of models")
