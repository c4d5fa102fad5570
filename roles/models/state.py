"""What a host has: one command that reads names and sizes, and not one model."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from roles.models.wanted import Wanted, WantedFile, folders
from roles.paths import Paths

TOOL = "sdfleet-fetch"
CARDS = (".json", ".preview.png")
"""What stands beside a model of the role for the WebUI to show."""
ENTRY = re.compile(r"(?P<type>[flds]) (?P<size>\d+) (?P<path>[^\t]+)\t(?P<target>.*)")
TEXT = re.compile(r"text (?P<path>[^\t]+)\t(?P<content>.*)")
PUBLISHED = re.compile(r"published (?P<json>\{.*\})")
DIGEST = re.compile(r"tool (?P<sha256>[0-9a-f]{64})")


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
        return {folder / name for folder in wanted.folders for name in self.published}

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
    return (
        f"find {listed} -mindepth 1 ! -type d -printf '%y %s %p\\t%l\\n' 2>/dev/null; "
        f'for f in {refs}; do test -f "$f" && printf \'text %s\\t%s\\n\' "$f" "$(head -c 200 "$f")"; done; '
        f"test -f {published} && printf 'published %s\\n' \"$(tr -d '\\n' < {published})\"; "
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
    tool = ""
    for line in lines:
        if found := DIGEST.match(line):
            tool = found["sha256"]
        elif found := PUBLISHED.fullmatch(line):
            published = frozenset(json.loads(found["json"]))
        elif found := TEXT.fullmatch(line):
            texts[PurePosixPath(found["path"])] = found["content"]
        elif found := ENTRY.fullmatch(line):
            path, target, size = PurePosixPath(found["path"]), PurePosixPath(found["target"]), int(found["size"])
            if path.is_relative_to(paths.store / "sha256"):
                blobs[path.name] = size
            elif path.is_relative_to(paths.store):
                partials[path.name] = size
            elif found["type"] == "l" and target.is_relative_to(paths.store):
                links[path] = target
            else:
                strangers[path] = size
    ours = texts.keys() | {link.with_suffix(suffix) for link in links for suffix in CARDS}
    foreign = {path: size for path, size in strangers.items() if path not in ours}
    return Seen(blobs, partials, links, foreign, texts, published, tool)


def _quote(path: PurePosixPath) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"
