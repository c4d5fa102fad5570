"""What a host has: one command that reads names and sizes, and not one model."""

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
"""What stands beside a model of the role for the WebUI to show."""
DIGEST = re.compile(r"tool (?P<sha256>[0-9a-f]{64})")
PUBLISHED: TypeAdapter[dict[str, dict[str, str]]] = TypeAdapter(dict[str, dict[str, str]])


@dataclass(frozen=True)
class Seen:
    """Store and links of a host as they are."""

    blobs: Mapping[str, int] = field(default_factory=dict)
    """sha256 -> size of each file of the store."""
    partials: Mapping[str, int] = field(default_factory=dict)
    """sha256 -> bytes of each unfinished file."""
    links: Mapping[PurePosixPath, PurePosixPath] = field(default_factory=dict)
    """Links into the store -> what they lead to."""
    strangers: Mapping[PurePosixPath, int] = field(default_factory=dict)
    """Files and links that somebody else put into the models' folders -> size."""
    texts: Mapping[PurePosixPath, str] = field(default_factory=dict)
    published: frozenset[str] = frozenset()
    """Names in the Lora folder that training runs put there; they are not the manifest's."""
    tool: str = ""
    """sha256 of the installed sdfleet-fetch."""
    damaged: str = ""
    """A sentence, if what training runs put there cannot be told: then no link may be taken for nobody's."""

    def whole(self, file: WantedFile) -> bool:
        """Whether the store has the file."""
        size = self.blobs.get(file.sha256)
        return size is not None and (file.size is None or file.size == size)

    def missing(self, wanted: Wanted) -> list[WantedFile]:
        """Files that have to be fetched."""
        return [file for file in wanted.files if not self.whole(file)]

    def unlinked(self, wanted: Wanted, paths: Paths) -> list[WantedFile]:
        """Files whose name does not lead to them."""
        return [file for file in wanted.files if self.links.get(file.link) != paths.blob(file.sha256)]

    def unwanted(self, wanted: Wanted) -> list[PurePosixPath]:
        """Links into the store that neither a model of the manifest nor a training run explains."""
        return sorted(self.links.keys() - {file.link for file in wanted.files} - self._by_runs(wanted))

    def _by_runs(self, wanted: Wanted) -> set[PurePosixPath]:
        return {wanted.loras / name for name in self.published}

    def in_the_way(self, wanted: Wanted) -> list[PurePosixPath]:
        """Strangers under a name that a model wants."""
        return sorted(self.strangers.keys() & {file.link for file in wanted.files})

    def stale_texts(self, wanted: Wanted) -> list[PurePosixPath]:
        """Small files that are missing or have another content."""
        return sorted(path for path, content in wanted.texts.items() if self.texts.get(path) != content)


def command(paths: Paths) -> str:
    """The shell command whose output `read` understands; prints nothing on a host that has none of it."""
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


def read(lines: Iterable[str], paths: Paths) -> Seen:
    """What the command printed."""
    blobs: dict[str, int] = {}
    partials: dict[str, int] = {}
    links: dict[PurePosixPath, PurePosixPath] = {}
    strangers: dict[PurePosixPath, int] = {}
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
                    strangers[path] = size
    ours = texts.keys() | {link.with_suffix(suffix) for link in links for suffix in CARDS}
    foreign = {path: size for path, size in strangers.items() if path not in ours}
    return Seen(blobs, partials, links, foreign, texts, published, tool, damaged)


def _published(text: bytes, paths: Paths) -> tuple[frozenset[str], str]:
    """The links that training runs made; and a sentence if that cannot be read, since all of them would be removed."""
    try:
        return frozenset(PUBLISHED.validate_json(text)), ""
    except ValidationError:
        return frozenset(), (
            f"{paths.published} is damaged, so nobody knows which LoRA files training runs published; put it back from "
            "a backup, or remove it and publish them again (until then apply would remove their links)"
        )


def _quote(path: PurePosixPath) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"
