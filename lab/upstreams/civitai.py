"""The part of Civitai's public API that downloads use."""

import json
import re
import zlib
from pathlib import Path
from typing import Any

from lab.upstreams.http import Reply, Request, as_json, dispatch, redirect
from lab.upstreams.hub import Cdn, Hub, HubFile

TOKEN = "civitai_lab_token"
"""The token for models that need a login."""


class Civitai:
    """Model versions listed in FOLDER/versions.json, their files beside it.

    An entry is {"id", "modelId", "name", "model": {"name", "type"}, "baseModel", "login": bool,
    "trainedWords", "images", "files": [{"id", "name", "primary"}]}, the first file at FOLDER/VERSION_ID/NAME.
    """

    def __init__(self, folder: Path, cdn: Cdn) -> None:
        self.folder = folder
        self.cdn = cdn
        self._hub = Hub(folder)
        self._routes = (
            (re.compile(r"/api/v1/model-versions/(?P<number>\d+)"), self._version),
            (re.compile(r"/api/v1/model-versions/by-hash/(?P<digest>[0-9A-Fa-f]+)"), self._by_hash),
            (re.compile(r"/api/v1/models/(?P<number>\d+)"), self._model),
            (re.compile(r"/api/download/models/(?P<number>\d+)"), self._download),
        )

    def __call__(self, request: Request) -> Reply:
        """The reply; errors are JSON with an `error`."""
        return dispatch(self._routes, request)

    def _versions(self) -> list[dict[str, Any]]:
        file = self.folder / "versions.json"
        versions: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
        return versions

    def _content(self, version: dict[str, Any], name: str) -> HubFile:
        return self._hub.describe(self.folder / str(version["id"]) / name, name)

    def _version(self, request: Request, number: str) -> Reply:
        for version in self._versions():
            if version["id"] == int(number):
                return as_json(self._shown(version, request))
        return as_json({"error": f"No model version with id {number}"}, 404)

    def _by_hash(self, request: Request, digest: str) -> Reply:
        for version in self._versions():
            shown = self._shown(version, request)
            known = {value for file in shown["files"] for value in file["hashes"].values()}
            if digest.upper() in known:
                return as_json(shown)
        return as_json({"error": "Model not found"}, 404)

    def _model(self, request: Request, number: str) -> Reply:
        versions = [version for version in self._versions() if version["modelId"] == int(number)]
        if not versions:
            return as_json({"error": f"No model with id {number}"}, 404)
        shown = [self._shown(version, request) for version in versions]
        return as_json({"id": int(number), **versions[0]["model"], "modelVersions": shown})

    def _shown(self, version: dict[str, Any], request: Request) -> dict[str, Any]:
        here = f"http://{request.host}"
        link = f"{here}/api/download/models/{version['id']}"
        files = []
        for entry in version["files"]:
            content = self._content(version, entry["name"])
            files.append(
                {
                    "id": entry["id"],
                    "name": entry["name"],
                    "type": "Model",
                    "primary": entry.get("primary", False),
                    "sizeKB": content.size / 1024,
                    "pickleScanResult": "Success",
                    "virusScanResult": "Success",
                    "metadata": {"format": "SafeTensor"},
                    "hashes": _hashes(content),
                    "downloadUrl": link if entry.get("primary") else f"{link}?fileId={entry['id']}",
                }
            )
        return {
            "id": version["id"],
            "modelId": version["modelId"],
            "name": version["name"],
            "baseModel": version.get("baseModel", "SD 1.5"),
            "air": f"urn:air:sd1:{version['model']['type'].lower()}:civitai:{version['modelId']}@{version['id']}",
            "trainedWords": version.get("trainedWords", []),
            "model": version["model"],
            "files": files,
            "images": version.get("images", []),
            "downloadUrl": link,
        }

    def _download(self, request: Request, number: str) -> Reply:
        for version in self._versions():
            if version["id"] != int(number):
                continue
            token = request.bearer or request.query.get("token")
            if version.get("login") and token != TOKEN:
                message = "The creator of this asset requires you to be logged in to download it"
                return as_json({"error": "Unauthorized", "message": message}, 401)
            wanted = request.query.get("fileId")
            for entry in version["files"]:
                if entry.get("primary") if wanted is None else str(entry["id"]) == wanted:
                    return redirect(self.cdn.link(request, self._content(version, entry["name"])), 307)
        return as_json({"error": "File not found"}, 404)


def _hashes(content: HubFile) -> dict[str, str]:
    sha256 = content.sha256.upper()
    checksum = 0
    with content.path.open("rb") as file:
        while chunk := file.read(1 << 20):
            checksum = zlib.crc32(chunk, checksum)
    return {"AutoV2": sha256[:10], "SHA256": sha256, "CRC32": f"{checksum:08X}"}
