"""The packed program, a store and two servers."""

import hashlib
import json
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from roles.models.tool import program
from tests.roles.models import origin as server

SIZE = 300_000


def content(seed: int, size: int = SIZE) -> bytes:
    """Bytes that no other seed has."""
    dice, block = random.Random(seed), 64_000_000  # randbytes has a limit of some 268 MB
    return b"".join(dice.randbytes(min(block, size - start)) for start in range(0, size, block))


def tensors(header: object, data: bytes = b"") -> bytes:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def model(seed: int, size: int = SIZE) -> bytes:
    """A valid safetensors file with `size` bytes of weights that no other seed has."""
    return tensors({"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}, content(seed, size))


def digest(data: bytes) -> str:
    """sha256, as fleet.lock writes it."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class Done:
    """What one run of sdfleet-fetch came to."""

    status: int
    events: list[dict[str, Any]]
    errors: list[str]

    def of(self, event: str) -> list[dict[str, Any]]:
        """The events of one kind."""
        return [entry for entry in self.events if entry["event"] == event]


@dataclass
class Fetcher:
    """sdfleet-fetch as it is installed, with a store of its own."""

    program: Path
    store: Path

    def manifest(self, *files: dict[str, Any], **more: Any) -> str:
        """The JSON text for these files."""
        return json.dumps({"store": str(self.store), "folders": [str(self.store.parent)], "files": files, **more})

    def start(self, manifest: str) -> "subprocess.Popen[str]":
        """Start a sync without waiting for it."""
        process = subprocess.Popen(
            # As on a host, which has nothing of this project: not even what is installed here.
            [sys.executable, "-I", "-S", str(self.program), "-"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin
        process.stdin.write(manifest)
        process.stdin.close()
        process.stdin = None
        return process

    def run(self, *files: dict[str, Any], **more: Any) -> Done:
        """One sync, to its end."""
        return self.run_text(self.manifest(*files, **more))

    def run_text(self, manifest: str) -> Done:
        """One sync of a manifest, to its end."""
        process = self.start(manifest)
        out, err = process.communicate(timeout=120)
        return Done(process.returncode, [json.loads(line) for line in out.splitlines()], err.splitlines())

    def blob(self, data: bytes) -> Path:
        """Where the store has these bytes."""
        sha256 = digest(data)
        return self.store / "sha256" / sha256[:2] / sha256

    def final_names(self) -> list[Path]:
        """Everything in the store that has a final name."""
        return [path for path in (self.store / "sha256").rglob("*") if path.is_file()]


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    """The program, packed as for a host."""
    file = tmp_path / "sdfleet-fetch"
    file.write_bytes(program())
    return Fetcher(file, tmp_path / "store")


@pytest.fixture
def origin() -> Iterator[server.Origin]:
    """The first server."""
    with server.running() as running:
        yield running


@pytest.fixture
def mirror() -> Iterator[server.Origin]:
    """Another server, on another port: another host as far as secrets are concerned."""
    with server.running() as running:
        yield running


@pytest.fixture
def upstream(lab: Lab) -> Iterator[server.Origin]:
    """A server that the lab's hosts reach."""
    with server.running(lab.gateway, lab.pid) as running:
        yield running


def wanted(data: bytes, *urls: str, model: str = "sd15", size: int | None = -1, **more: Any) -> dict[str, Any]:
    """A manifest's entry for `data`; a size of -1 stands for the true one."""
    sources = [{"url": url, **more} for url in urls]
    return {"model": model, "sha256": digest(data), "size": len(data) if size == -1 else size, "sources": sources}
