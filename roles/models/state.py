"""The state of a host's store and links: one command that reads names and sizes, but no model."""

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from pydantic import TypeAdapter, ValidationError

from roles.facts.records import listing, records
from roles.models.wanted import Wanted, WantedFile, folders
from roles.paths import Paths

TOOL = "sdfleet-fetch"
CARDS = (".json", ".preview.png")
"""Suffixes of the files beside a model that the WebUI shows."""
DIGEST = re.compile(r"tool (?P<sha256>[0-9a-f]{64})")
PUBLISHED: TypeAdapter[dict[str, dict[str, str]]] = TypeAdapter(dict[str, dict[str, str]])


@dataclass(frozen=True)
class StoreContents:
    """Store and links of a host."""

    blobs: Mapping[str, int] = field(default_factory=dict)
    """sha256 -> size of each file of the store."""
    partials: Mapping[str, int] = field(default_factory=dict)
    """sha256 -> bytes of each incomplete file."""
    links: Mapping[PurePosixPath, PurePosixPath] = field(default_factory=dict)
    """Links into the store -> their targets."""
    unmanaged: Mapping[PurePosixPath, int] = field(default_factory=dict)
    """Files and links in the models' folders that sdfleet did not create -> size."""
    texts: Mapping[PurePosixPath, str] = field(default_factory=dict)
    published: frozenset[str] = frozenset()
    """Names in the Lora folder that were published by training runs, not by the manifest."""
    tool: str = ""
    """sha256 of the installed sdfleet-fetch."""
    damaged: str = ""
    """A message if the list of published files cannot be read: then no link may be removed."""

    def has(self, file: WantedFile) -> bool:
        """Whether the store has the file."""
        size = self.blobs.get(file.sha256)
        return size is not None and (file.size is None or file.size == size)

    def missing(self, wanted: Wanted) -> list[WantedFile]:
        """Files that have to be fetched."""
        return [file for file in wanted.files if not self.has(file)]

    def unlinked(self, wanted: Wanted, paths: Paths) -> list[WantedFile]:
        """Files without a correct link."""
        return [file for file in wanted.files if self.links.get(file.link) != paths.blob(file.sha256)]

    def unwanted(self, wanted: Wanted) -> list[PurePosixPath]:
        """Links into the store that belong neither to a model of the manifest nor to a training run."""
        return sorted(self.links.keys() - {file.link for file in wanted.files} - self._by_runs(wanted))

    def _by_runs(self, wanted: Wanted) -> set[PurePosixPath]:
        return {wanted.loras / name for name in self.published}

    def in_the_way(self, wanted: Wanted) -> list[PurePosixPath]:
        """Unmanaged files with the name of a wanted link."""
        return sorted(self.unmanaged.keys() & {file.link for file in wanted.files})

    def stale_texts(self, wanted: Wanted) -> list[PurePosixPath]:
        """Small files that are missing or have another content."""
        return sorted(path for path, content in wanted.texts.items() if self.texts.get(path) != content)


def store_command(paths: Paths) -> str:
    """The shell command for `parse_store`; prints nothing on a host without store and links."""
    where = [paths.store / "sha256", paths.store / "partial", *folders(paths)]
    listed = " ".join(_quote(path) for path in where)
    refs = f"{_quote(paths.hub)}/hub/*/refs/*"
    tool, published = _quote(paths.tools / TOOL), _quote(paths.published)
    read = 'for f in {0}; do test -f "$f" && printf "%s\\0" "$f" && head -c 200 "$f" && printf "\\0"; done'
    found = f"find {listed} -mindepth 1 ! -type d -printf '%y\\0%s\\0%p\\0%l\\0' 2>/dev/null"
    return (
        f"{listing('found', found)}; {listing('texts', f'{{ {read.format(refs)}; }}')}; "
        f"test -e {published} && {listing('published', f'cat {published}')}; "
        f"test -f {tool} && echo tool $(sha256sum < {tool}); true"
    )


def parse_store(lines: Iterable[str], paths: Paths) -> StoreContents:
    """Parse the command's output."""
    blobs: dict[str, int] = {}
    partials: dict[str, int] = {}
    links: dict[PurePosixPath, PurePosixPath] = {}
    unmanaged: dict[PurePosixPath, int] = {}
    texts: dict[PurePosixPath, str] = {}
    published: frozenset[str] = frozenset()
    tool = damaged = ""
    for line in lines:
        kind, _, rest = line.partition("\t")
        if digest := DIGEST.match(line):
            tool = digest["sha256"]
        elif kind == "published":
            published, damaged = _published(base64.b64decode(rest), paths)
        elif kind == "texts":
            texts |= {PurePosixPath(name): content for name, content in records(rest, 2)}
        elif kind == "found":
            for letter, count, name, led in records(rest, 4):
                path, target, size = PurePosixPath(name), PurePosixPath(led), int(count)
                if path.is_relative_to(paths.store / "sha256"):
                    blobs[path.name] = size
                elif path.is_relative_to(paths.store):
                    partials[path.name] = size
                elif letter == "l" and target.is_relative_to(paths.store):
                    links[path] = target
                else:
                    unmanaged[path] = size
    ours = texts.keys() | {link.with_suffix(suffix) for link in links for suffix in CARDS}
    foreign = {path: size for path, size in unmanaged.items() if path not in ours}
    return StoreContents(blobs, partials, links, foreign, texts, published, tool, damaged)


def _published(text: bytes, paths: Paths) -> tuple[frozenset[str], str]:
    """The links that training runs published, and a message if the list cannot be read."""
    try:
        return frozenset(PUBLISHED.validate_json(text)), ""
    except ValidationError:
        return frozenset(), (
            f"{paths.published} is damaged, so nobody knows which LoRA files training runs published; put it back from "
            "a backup, or remove it and publish them again (until then apply would remove their links)"
        )


def _quote(path: PurePosixPath) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"
