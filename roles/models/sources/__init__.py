"""Sources of models, one module each: the meaning of their addresses, and how `lock` resolves them."""

from collections.abc import Callable

from roles import names
from roles.models.config import ADOPTED, LockedModel, Model
from roles.models.sources import civitai, huggingface, modelscope, peer, plain
from roles.models.sources.web import HubClient, SourceError

RESOLVERS: dict[str, Callable[[Model, HubClient], LockedModel]] = {
    "hf": huggingface.resolve,
    "modelscope": modelscope.resolve,
    "civitai": civitai.resolve,
    "https": plain.resolve_url,
    "http": plain.resolve_url,
    "file": plain.resolve_file,
    "host": peer.resolve,
    "adopted": plain.resolve_adopted,
}
"""By the scheme of a source."""


def address(model: Model) -> tuple[str, str]:
    """Name and origin's URL of the one file that a source names by itself. Raises SourceError if it does not."""
    scheme = model.source.partition(":")[0]
    if scheme == "hf" and (hub := huggingface.parse_source(model.source)).path:
        return hub.path, hub.url(hub.path)
    if scheme == "modelscope":
        repository, path, revision = modelscope.parse_source(model.source)
        return path, modelscope.url(repository, path, revision)
    if scheme == "host":
        return peer.parse_source(model.source)[1].rpartition("/")[2], model.source
    if scheme == "adopted":
        path = names.file_path(model.source.removeprefix(ADOPTED))
        return path, f"file:{path}"
    if scheme in ("http", "https", "file"):
        return plain.file_name(model.source), model.source
    raise SourceError("it is not in fleet.lock; run `sdfleet lock`")


def resolve(model: Model, client: HubClient) -> LockedModel:
    """The exact files that a model's source stands for now.

    Raises SourceError if the source cannot say, or says something else than the model's own sha256.
    """
    scheme = model.source.partition(":")[0]
    if scheme not in RESOLVERS:
        raise SourceError(f"{model.source!r} cannot be pinned: it is made on the fleet")
    locked = RESOLVERS[scheme](model, client)
    if model.sha256 and [pin.sha256 for pin in locked.pins] != [model.sha256]:
        raise SourceError(f"its sha256 in fleet.toml is {model.sha256}, its source has {locked.pins[0].sha256}")
    return locked
