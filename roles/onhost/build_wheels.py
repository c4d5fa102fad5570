"""Make wheels of what a requirements lock has as sources alone, so that installing the rest runs no code.

Sources are fetched by the hashes in the lock. What they run is run by the command in --sandbox, which the caller
makes a user without rights and without a network, and with nothing but the tools in --python. Each wheel that comes
back is one file of a stranger's: its name and the names in it are checked before anybody unpacks it.

Writes the lock again with each such entry replaced by its wheel and the wheel's own hash.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urldefrag, urljoin, urlsplit

ENTRY = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?P<extras>\[[^\]]*\])?==(?P<version>[^\s;]+)(?P<marker>.*)")
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
SOURCES = (".tar.gz", ".zip", ".tgz", ".tar.bz2")
FEW = 2
"""An index takes one source file a release, rarely two: with more hashes than this in the lock there are wheels."""
SILENCE_SECONDS = 60
LARGEST_PAGE = 64_000_000
LARGEST_SOURCE = 1_000_000_000
LARGEST_WHEEL = 1_000_000_000
CHUNK = 1 << 20
BUILD = """\
set -e
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r -- "$2" "$work/source"
"$1" build --wheel --quiet --offline --no-config --no-build-isolation --cache-dir "$work/uv" --python "$3" \\
    --out-dir "$work/wheels" "$work/source/$4" >&2
cd "$work/wheels"
set -- *.whl
printf '%s\\n' "$1"
cat -- "$1"
"""
"""Runs in the sandbox: uv, folder with the source, Python with the tools, name below that folder."""


class BuildError(Exception):
    """A package cannot be built; the text is for a person."""


class Listed(NamedTuple):
    """One file of an index's page."""

    filename: str
    url: str
    sha256: str


class _Page(HTMLParser):
    """The links of an index's page (PEP 503)."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attrs if tag == "a" and name == "href" and value]


def normal(name: str) -> str:
    """A project's name as indexes spell it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def listed(index: str, name: str) -> list[Listed]:
    """What an index has of a project; nothing if it does not know it."""
    url = f"{index.rstrip('/')}/{normal(name)}/"
    accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
    try:
        with _open(url, {"Accept": accept}) as answer:
            page, kind, base = answer.read(LARGEST_PAGE + 1), answer.headers.get_content_type(), answer.url
    except urllib.error.HTTPError as error:
        if error.code in (404, 403, 410):
            return []
        raise BuildError(f"{host(url)} answers HTTP {error.code} for {name}") from None
    except OSError as error:
        raise BuildError(f"{host(url)} does not say what it has of {name}: {error}") from None
    if len(page) > LARGEST_PAGE:
        raise BuildError(f"{host(url)} sends a page of more than {LARGEST_PAGE} bytes for {name}")
    try:
        return _json(page, base) if kind.endswith("json") else _html(page, base)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise BuildError(f"{host(url)} sends no index page for {name}") from None


def _json(page: bytes, base: str) -> list[Listed]:
    files = json.loads(page)["files"]
    return [Listed(file["filename"], urljoin(base, file["url"]), file["hashes"].get("sha256", "")) for file in files]


def _html(page: bytes, base: str) -> list[Listed]:
    parser, found = _Page(), []
    parser.feed(page.decode("utf-8", "replace"))
    for link in parser.links:
        url, fragment = urldefrag(urljoin(base, link))
        found.append(Listed(urlsplit(url).path.rsplit("/", 1)[-1], url, fragment.partition("sha256=")[2]))
    return found


def host(url: str) -> str:
    """What may be shown of a URL: an index's can hold a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}"


def _open(url: str, headers: dict[str, str]):  # type: ignore[no-untyped-def]  # urllib says Any
    if urlsplit(url).scheme not in ("http", "https"):
        raise BuildError(f"the index points at {url[:80]!r}, which is no web address")
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SILENCE_SECONDS)


def fetch(file: Listed, into: Path) -> Path:
    """Download a source whose hash the lock has, under a name of our own."""
    suffix = next(suffix for suffix in SOURCES if file.filename.endswith(suffix))
    digest, size, place = hashlib.sha256(), 0, into / f"source{suffix}"
    try:
        with _open(file.url, {"Accept-Encoding": "identity"}) as answer, place.open("xb") as out:
            for block in iter(lambda: answer.read(CHUNK), b""):
                size += len(block)
                if size > LARGEST_SOURCE:
                    raise BuildError(f"{host(file.url)} sends more than {LARGEST_SOURCE} bytes")
                digest.update(block)
                out.write(block)
    except OSError as error:
        raise BuildError(f"{host(file.url)} does not deliver {file.filename!r}: {error}") from None
    if digest.hexdigest() != file.sha256:
        raise BuildError(f"{host(file.url)} sends another {file.filename!r} than the lock names (its sha256 differs)")
    return place


def build(name: str, source: Path, into: Path, sandbox: list[str], uv: Path, python: Path) -> Path:
    """The wheel of a source, an archive or a folder, built in the sandbox."""
    folder, below = (source, ".") if source.is_dir() else (source.parent, source.name)
    command = [*sandbox, "sh", "-c", BUILD, "sh", str(uv), str(folder), str(python), below]
    part = into / f".{normal(name)}.part"
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        filename = process.stdout.readline(256).decode("utf-8", "replace").strip()
        size = 0
        with part.open("xb") as out:
            for block in iter(lambda: process.stdout.read(CHUNK), b""):  # type: ignore[union-attr]
                size += len(block)
                if size > LARGEST_WHEEL:
                    process.kill()
                    raise BuildError(f"{name}: its build gives more than {LARGEST_WHEEL} bytes")
                out.write(block)
        said = [line for line in process.stderr.read(CHUNK).decode("utf-8", "replace").splitlines() if line.strip()]
    if process.returncode:
        raise BuildError(f"{name}: cannot be built: {' | '.join(said[-4:]) or 'the build ended without a word'}")
    tags = re.fullmatch(
        r"([A-Za-z0-9_.]+)-[A-Za-z0-9_.+!]+-[A-Za-z0-9_.]+-[A-Za-z0-9_.]+-[A-Za-z0-9_.]+\.whl", filename
    )
    if not tags or normal(tags[1]) != normal(name):
        raise BuildError(f"{name}: its build gives {filename!r}, which is no wheel of it")
    _check(name, part)
    final = into / filename
    part.rename(final)
    return final


def _check(name: str, wheel: Path) -> None:
    """Refuse a wheel that would write outside the environment."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError):
        raise BuildError(f"{name}: its build gives no wheel") from None
    for entry in entries:
        parts = re.split(r"[/\\]", entry.filename)
        if (
            entry.filename.startswith(("/", "\\"))
            or ".." in parts
            or (entry.external_attr >> 16) & 0o170000 == 0o120000
        ):
            raise BuildError(f"{name}: its wheel holds {entry.filename!r}, which leads out of it")


def entries(lock: str) -> list[str]:
    """The logical lines of a lock: continued lines joined, comments gone."""
    joined = re.sub(r"\\\n\s*", " ", lock)
    return [line for line in (re.sub(r"(^|\s)#.*", "", line).rstrip() for line in joined.splitlines()) if line]


def source_of(line: str, index: str) -> Listed | None:
    """The source file of an entry of which there is no wheel; None for every other line."""
    entry, hashes = ENTRY.match(line), set(HASH.findall(line))
    if not entry or not hashes or len(hashes) > FEW:
        return None
    files = [file for file in listed(index, entry["name"]) if file.sha256 in hashes]
    if any(file.filename.endswith(".whl") for file in files):
        return None
    return next((file for file in files if file.filename.endswith(SOURCES)), None)


def pinned(name: str, wheel: Path, marker: str = "") -> str:
    """A wheel as a line of a requirements file."""
    with wheel.open("rb") as file:
        digest = hashlib.sha256()
        for block in iter(lambda: file.read(CHUNK), b""):
            digest.update(block)
    return f"{name} @ {wheel.as_uri()}{marker} --hash=sha256:{digest.hexdigest()}"


def main() -> None:
    """Build what must be built; exit 1 with one sentence on standard error if that fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", type=Path, required=True, help="requirements file with hashes")
    parser.add_argument("--index", required=True, help="package index (simple API)")
    parser.add_argument("--tree", action="append", default=[], metavar="NAME=FOLDER", help="a package's source tree")
    parser.add_argument("--into", type=Path, required=True, help="folder to make, for the wheels")
    parser.add_argument("--resolved", type=Path, required=True, help="requirements file to write")
    parser.add_argument("--uv", type=Path, required=True, help="uv, as the sandbox sees it")
    parser.add_argument("--python", type=Path, required=True, help="Python whose environment has the build tools")
    parser.add_argument("--sandbox", required=True, help="words before a command that confine it")
    options = parser.parse_args()
    sandbox, lines = shlex.split(options.sandbox), []
    options.into.mkdir()
    try:
        for number, line in enumerate(entries(options.lock.read_text(encoding="utf-8"))):
            file = source_of(line, options.index)
            if file is None:
                lines.append(line)
                continue
            entry = ENTRY.match(line)
            assert entry is not None
            folder = options.into / f"source-{number}"
            folder.mkdir()
            wheel = build(entry["name"], fetch(file, folder), options.into, sandbox, options.uv, options.python)
            lines.append(pinned(entry["name"], wheel, HASH.sub("", entry["marker"]).rstrip()))
        for name, _, tree in (given.partition("=") for given in options.tree):
            lines.append(pinned(name, build(name, Path(tree), options.into, sandbox, options.uv, options.python)))
    except BuildError as error:
        sys.exit(str(error))
    options.resolved.write_text("\n".join(lines) + "\n", encoding="utf-8")
