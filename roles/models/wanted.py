"""The desired state of a host's store and links, computed once for plan, apply and verify."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from roles.models.addresses import ModelMirrors, Source, addresses
from roles.models.config import ADOPTED, FOLDERS, HOMES, LockedModel, Model, ModelCard, Pin, folder_of
from roles.models.sources import address, huggingface, plain
from roles.names import below
from roles.paths import Paths

PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle")
SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
"""Files that the WebUI loads."""


class WantedError(ValueError):
    """Models that cannot be installed; one line each, with what to do."""


@dataclass(frozen=True)
class WantedFile:
    """A file of the store and its link."""

    model: str
    """Its name; NAME/PATH if the model has several files."""
    kind: str
    sha256: str
    size: int | None
    """In bytes; None if the lock does not know it."""
    sources: tuple[Source, ...]
    link: PurePosixPath
    card: ModelCard | None = None
    push: Path | None = None
    """File on the controller to send to the host (sources of scheme file:)."""
    adopted: bool = False
    """Whether it must already be in the store."""

    def of(self, kind: str, name: str) -> bool:
        """Whether it is a file of that model; models of two kinds may have the same name."""
        return (self.kind, self.model.partition("/")[0]) == (kind, name)


@dataclass(frozen=True)
class Wanted:
    """Everything the models role guarantees on one host."""

    files: tuple[WantedFile, ...]
    texts: Mapping[PurePosixPath, str]
    """Small files with exactly this content."""
    folders: tuple[PurePosixPath, ...]
    """The folders of the role's links; no other link into the store may be in or below them."""
    loras: PurePosixPath
    """The folder into which training runs publish."""


def wanted(models: Iterable[Model], paths: Paths, mirrors: ModelMirrors, here: Path = Path()) -> Wanted:
    """The desired state of a host. The controller's files are not read: the host, or the lock, may have them.

    + here: folder from which relative paths of file: sources start
    Raises WantedError with one line per model that cannot be installed.
    """
    files: list[WantedFile] = []
    texts: dict[PurePosixPath, str] = {}
    problems: list[str] = []
    for model in models:
        try:
            files += [_file(model, pin, paths, mirrors, here) for pin in pins(model)]
            if model.kind == "hub":
                texts[_snapshot(model, paths).parents[1] / "refs/main"] = revision(model)
        except ValueError as error:
            problems.append(f"models.{model.name}: {error}")
    taken = Counter(file.link for file in files)
    problems += [f"two models want the name {link}; rename one" for link, count in taken.items() if count > 1]
    places = folders(paths)
    problems += [
        f"models.{file.model}: {str(file.link)!r} is outside the folders of models"
        for file in files
        if not below(file.link, places)
    ]
    if problems:
        raise WantedError("\n".join(problems))
    return Wanted(tuple(files), texts, places, paths.data("webui") / FOLDERS["lora"])


def folders(paths: Paths) -> tuple[PurePosixPath, ...]:
    """The folders in or below which the role creates links."""
    return (*(paths.data("webui") / folder for folder in HOMES), paths.hub / "hub")


def pins(model: Model) -> tuple[Pin, ...]:
    """The exact files of a model: from the lock, or by its own sha256; WantedError if it has neither."""
    if isinstance(model, LockedModel):
        return model.pins
    if model.sha256 is None:
        raise WantedError("it has no sha256 and is not in fleet.lock; run `sdfleet lock`")
    path, url = address(model)
    return (Pin(path=path, url=url, sha256=model.sha256),)


def revision(model: Model) -> str:
    """The commit of a hub model; WantedError if it is unknown."""
    if isinstance(model, LockedModel):
        if not huggingface.COMMIT.fullmatch(model.revision):
            raise WantedError(f"its revision {model.revision!r} is no commit; run `sdfleet lock --upgrade`")
        return model.revision
    address = huggingface.parse_source(model.source)
    if not address.pinned:
        raise WantedError(f"its revision {address.revision!r} can move; run `sdfleet lock`, or give @COMMIT")
    return address.revision


def _file(model: Model, pin: Pin, paths: Paths, mirrors: ModelMirrors, here: Path) -> WantedFile:
    _refuse_pickle(model, pin)
    adopted = model.source.startswith(ADOPTED)
    push = plain.local_path(model, here) if model.source.startswith("file:") else None
    return WantedFile(
        model=f"{model.name}/{pin.path}" if model.kind == "hub" else model.name,
        kind=model.kind,
        sha256=pin.sha256,
        size=pin.size,
        sources=() if push or adopted else addresses(pin.url, mirrors),
        adopted=adopted,
        link=_snapshot(model, paths) / pin.path if model.kind == "hub" else _name(model, pin, paths),
        card=model.card if isinstance(model, LockedModel) else None,
        push=push,
    )


def _name(model: Model, pin: Pin, paths: Paths) -> PurePosixPath:
    suffix = PurePosixPath(pin.path).suffix.lower()
    if suffix not in SUFFIXES:
        raise WantedError(f"{pin.path!r} is no model file; the WebUI loads {', '.join(SUFFIXES)}")
    return paths.data("webui") / folder_of(model) / f"{model.name}{suffix}"


def _refuse_pickle(model: Model, pin: Pin) -> None:
    if PurePosixPath(pin.path).suffix.lower() in PICKLES and not model.allow_pickle:
        raise WantedError(
            f"{pin.path!r} is a pickle, which can run code when it is loaded; "
            "take the .safetensors, or set allow_pickle = true if you trust who made it"
        )


def _snapshot(model: Model, paths: Paths) -> PurePosixPath:
    repository = huggingface.parse_source(model.source).repository
    return paths.hub / "hub" / huggingface.cache_folder(repository) / "snapshots" / revision(model)
