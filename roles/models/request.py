"""The input of sdfleet-fetch: the desired state as JSON, with each secret at the address that may get it."""

import json
from collections.abc import Mapping

from roles.models.addresses import ModelMirrors
from roles.models.config import ModelCard
from roles.models.state import StoreContents
from roles.models.wanted import Wanted
from roles.paths import Paths

RESERVE = 512 * 2**20
"""Bytes of the file system that downloads leave free for logs and services."""


def _card(card: ModelCard) -> dict[str, object]:
    """The WebUI's own notes on a model (NAME.json), and where its picture (NAME.preview.png) is."""
    notes = {"description": card.page, "sd version": card.version, "activation text": ", ".join(card.words)}
    return {"notes": json.dumps(notes, indent=4), "preview": card.preview}


def manifest(
    wanted: Wanted, seen: StoreContents, paths: Paths, mirrors: ModelMirrors, secrets: Mapping[str, str]
) -> str:
    """The JSON text, on one line. It may contain secrets: it is sent on standard input and never stored."""
    files = [
        {
            "model": file.model,
            "sha256": file.sha256,
            "size": file.size,
            "suffix": file.link.suffix,
            "sources": [{"url": source.url, "headers": source.headers(secrets)} for source in file.sources],
        }
        for file in wanted.files
    ]
    return json.dumps(
        {
            "store": str(paths.store),
            "folders": [str(folder) for folder in wanted.folders],
            "files": files,
            "links": {str(file.link): file.sha256 for file in wanted.files},
            "cards": {str(file.link): _card(file.card) for file in wanted.files if file.card},
            "texts": {str(path): content for path, content in wanted.texts.items()},
            "unlink": [str(path) for path in seen.unwanted(wanted)],
            "parallel": mirrors.parallel,
            "bytes_per_second": mirrors.limit_mb * 1e6,
            "reserve": RESERVE,
        }
    )
