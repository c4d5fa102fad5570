"""ModelScope: modelscope:OWNER/NAME/FILE[@REVISION]."""

from urllib.parse import quote, urlencode

from roles.models.addresses import MODELSCOPE
from roles.models.config import LockedModel, Model, Pin
from roles.models.sources.web import Asker, SourceError


def parse(source: str) -> tuple[str, str, str]:
    """Repository, file and revision of a modelscope: source; ValueError if one of the first two is missing."""
    rest, _, revision = source.removeprefix("modelscope:").partition("@")
    owner, _, rest = rest.partition("/")
    name, _, path = rest.partition("/")
    if not (owner and name and path):
        raise ValueError(f"{source!r} is not modelscope:OWNER/NAME/FILE[@REVISION]")
    return f"{owner}/{name}", path, revision or "master"


def url(repository: str, path: str, revision: str) -> str:
    """Where the origin serves a file."""
    query = urlencode({"Revision": revision, "FilePath": path})
    return f"{MODELSCOPE}/api/v1/models/{quote(repository)}/repo?{query}"


def resolve(model: Model, asker: Asker) -> LockedModel:
    """What a model's source stands for now. Raises SourceError."""
    repository, path, revision = parse(model.source)
    query = urlencode({"Revision": revision, "Recursive": "true"})
    answer = asker.json(f"{MODELSCOPE}/api/v1/models/{quote(repository)}/repo/files?{query}")
    if not answer.get("Success"):
        raise SourceError(f"ModelScope says: {answer.get('Message')}")
    files = {entry["Path"]: entry for entry in answer["Data"]["Files"] if entry["Type"] != "tree"}
    if path not in files:
        raise SourceError(f"{repository} has no file {path!r}; it has {', '.join(sorted(files)[:20])}")
    entry = files[path]
    # The commit that last changed the file goes on meaning these bytes when the branch moves.
    address = url(repository, path, str(entry.get("Revision") or revision))
    sha256, size = str(entry.get("Sha256") or ""), int(entry["Size"])
    if not sha256:  # listings by commit id leave it out
        sha256 = asker.content(address).sha256
    pin = Pin(path=path, url=address, sha256=sha256.lower(), size=size)
    return LockedModel(**model.model_dump(), revision=str(entry.get("Revision") or revision), pins=(pin,))
