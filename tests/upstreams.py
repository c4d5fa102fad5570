"""The lab's stand-in upstreams on loopback, for tests without hosts."""

import contextlib
import json
import random
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from lab.upstreams.service import Ports, Upstreams


@contextlib.contextmanager
def running(root: Path) -> Iterator[Upstreams]:
    """All stand-ins on free ports of loopback; their content lies below `root`."""
    # Below those that the kernel gives to whoever asks for any: between two calls it might give ours to another test.
    ports = Ports(*random.SystemRandom().sample(range(20_000, 32_000), len(fields(Ports))))
    with Upstreams(root, ports=ports) as upstreams:
        yield upstreams


def put_on_hub(upstreams: Upstreams, repository: str, files: dict[str, bytes]) -> None:
    """Make a repository of the Hugging Face and ModelScope stand-ins hold exactly these files."""
    for name, data in files.items():
        path = upstreams.folders.hub / repository / "main" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def put_on_civitai(
    upstreams: Upstreams, version: int, name: str, data: bytes, *, login: bool = False, **more: object
) -> None:
    """Add a model version with one file; `more` are further entries of the version (images, trainedWords)."""
    listed = upstreams.folders.civitai / "versions.json"
    known = json.loads(listed.read_text()) if listed.exists() else []
    entry = {"id": version, "modelId": version + 1000, "name": "v1", "model": {"name": "Ink", "type": "LORA"}}
    files = [{"id": version * 10, "name": name, "primary": True}]
    file = upstreams.folders.civitai / str(version) / name
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    listed.write_text(json.dumps([*known, {**entry, **more, "login": login, "files": files}]))


def put_on_web(upstreams: Upstreams, name: str, data: bytes) -> None:
    """Add a plain download."""
    (upstreams.folders.files / name).parent.mkdir(parents=True, exist_ok=True)
    (upstreams.folders.files / name).write_bytes(data)
