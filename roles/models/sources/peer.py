"""Another host of the fleet: host:NAME/PATH, a model below its WebUI's data folder, or one it converted."""

import re

from roles.models.addresses import HOST
from roles.models.config import LockedModel, Model, Pin
from roles.models.sources.web import HubClient, SourceError

PATH = re.compile(r"(models|embeddings|converted)(/[^/]+)+")


def parse_source(source: str) -> tuple[str, str]:
    """Host and path of a host: source. Raises SourceError."""
    name, _, path = source.removeprefix(HOST).partition("/")
    if not PATH.fullmatch(path) or not path.isprintable() or ".." in path.split("/"):
        raise SourceError(f"{source!r} is not host:NAME/PATH with a PATH like models/Lora/ink.safetensors")
    return name, path


def resolve(model: Model, client: HubClient) -> LockedModel:
    """Ask the host what the file's hash is now. Raises SourceError."""
    name, path = parse_source(model.source)
    content = client.on_host(name, path)
    pin = Pin(path=path.rpartition("/")[2], url=model.source, sha256=content.sha256, size=content.size)
    return LockedModel(**model.model_dump(), pins=(pin,))
