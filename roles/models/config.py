"""Settings of the models role: the manifest's entries."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from roles.names import Address, FilePath, Line, Revision, Sha256
from roles.settings import Settings, is_line, raise_all
from training.spelling import did_you_mean
from training.usable_path import foreign, usable_path

HUB = "hub"
BELOW = "models/"
"""Prefix of kinds that name an extension's folder."""

FOLDERS: dict[str, PurePosixPath] = {
    "checkpoint": PurePosixPath("models/Stable-diffusion"),
    "lora": PurePosixPath("models/Lora"),
    "vae": PurePosixPath("models/VAE"),
    "embedding": PurePosixPath("embeddings"),
    "hypernetwork": PurePosixPath("models/hypernetworks"),
    "controlnet": PurePosixPath("models/ControlNet"),
    "upscaler": PurePosixPath("models/ESRGAN"),
    "vae_approx": PurePosixPath("models/VAE-approx"),
    "adetailer": PurePosixPath("models/adetailer"),
    "clip_vision": PurePosixPath("models/clip_vision"),
    "codeformer": PurePosixPath("models/Codeformer"),
    "gfpgan": PurePosixPath("models/GFPGAN"),
    "insightface": PurePosixPath("models/insightface"),
    "ipadapter": PurePosixPath("models/ipadapter"),
    "realesrgan": PurePosixPath("models/RealESRGAN"),
    "swinir": PurePosixPath("models/SwinIR"),
    "text_encoder": PurePosixPath("models/text_encoder"),
}
"""Folder of each kind below the WebUI's data dir; `hub` files go into the Hugging Face cache instead."""

HOMES = (PurePosixPath("models"), PurePosixPath("embeddings"))
"""The folders that contain all of them."""


def is_kind(value: str) -> str:
    """A known kind, or models/FOLDER for an extension's folder."""
    if value == HUB or value in FOLDERS:
        return value
    if value.startswith(BELOW):
        is_folder(value.removeprefix(BELOW))
        if twin := next((kind for kind, folder in FOLDERS.items() if folder == PurePosixPath(value)), None):
            raise ValueError(f'{value!r} is the folder of a kind that has a name; write "{twin}"')
        return value
    by_folder = {folder.name.lower(): kind for kind, folder in FOLDERS.items()}
    meant = did_you_mean(by_folder.get(value.lower(), value.lower()), [HUB, *FOLDERS])
    raise ValueError(
        f"no kind {value!r}{meant}; known are {', '.join([*FOLDERS, HUB])}; "
        'the folder of an extension is named as it is, "models/FOLDER"'
    )


def is_folder(value: str) -> str:
    """A relative path of valid folder names; "" for none."""
    for part in value.split("/") if value else ():
        if not part:
            raise ValueError(f"{value!r} must be a path below a folder, like styles/ink")
        is_file_name(part)
    return value


def is_file_name(value: str) -> str:
    """A name in any script that is valid in file systems, prompts and shells."""
    if bad := sorted({sign for sign in value if sign in UNFIT or not sign.isprintable()}):
        raise ValueError(f"{value!r} has {' '.join(map(repr, bad))} in it, which no file's name here may have")
    if not value or value != value.strip() or value[0] in ".-" or value[-1] == ".":
        raise ValueError(f"{value!r} is no name: it begins with a letter or digit of any script, and ends in no dot")
    if len(value.encode()) > LONGEST_BYTES:
        raise ValueError(f"{value[:40]!r}... is too long: {LONGEST_BYTES} bytes of UTF-8 at most")
    return value


def as_sha256(value: Any) -> Any:
    """Civitai shows hashes in capitals, and others with the algorithm before them."""
    return value.strip().lower().removeprefix("sha256:") if isinstance(value, str) else value


UNFIT = '/\\:*?"<>|$`;'
LONGEST_BYTES = 200
"""A file's name has at most 255, including suffixes."""
Kind = Annotated[str, AfterValidator(is_kind)]
FileName = Annotated[str, AfterValidator(is_file_name)]
Subfolder = Annotated[str, AfterValidator(is_folder)]

SCHEMES = ("hf:", "modelscope:", "civitai:", "https://", "http://", "file:", "host:", "adopted:", "run:")


ADOPTED = "adopted:"
_FILE_OF_A_REPOSITORY = re.compile(r"\w+:[^/@]+/[^/@]+/[^@]")
FORMS = {
    "hf:": (_FILE_OF_A_REPOSITORY, "hf:OWNER/REPO/FILE[@REVISION]"),
    "modelscope:": (_FILE_OF_A_REPOSITORY, "modelscope:OWNER/NAME/FILE[@REVISION]"),
    "civitai:": (re.compile(r"civitai:\d+(/\d+)?$"), "civitai:VERSION_ID[/FILE_ID]"),
    "host:": (re.compile(r"host:[^/]+/[^/]"), "host:NAME/PATH"),
    "file:": (re.compile(r"file:."), "file:PATH"),
    "adopted:": (re.compile(r"adopted:[^/]+\.[^/]+$"), "adopted:FILE, as `sdfleet models adopt` prints it"),
    "run:": (re.compile(r"run:."), "run:NAME"),
}
"""The form of sources by scheme, as an expression and as text."""
REPOSITORY = re.compile(r"hf:[^/@]+/[^/@]+")


def _malformed(source: str, whole: bool) -> str:
    """What is wrong with a source of a known scheme; empty if nothing is.

    + whole: whether the source may be a whole repository
    """
    scheme = source.partition(":")[0] + ":"
    form, written = FORMS.get(scheme, (None, ""))
    if form is None or form.match(source) or (whole and REPOSITORY.match(source)):
        return ""
    return f"{source!r} names no single file; write {written}"


PAGES = re.compile(
    r"https?://(www\.)?((huggingface\.co|hf\.co|hf-mirror\.com)/[^/]+/[^/]+(/blob/.*|/tree/.*)?/?"
    r"|civitai\.(com|red)/models/.*|modelscope\.(cn|ai)/models/[^/]+/[^/]+(/file/view/.*|/files|/summary)?/?)"
)
"""Pages about models, which people paste instead of the file's address."""


def _unusable(source: str) -> str:
    """Why nothing can be read from a source; empty if that is not known."""
    if PAGES.fullmatch(source):
        return f"{source!r} is a page, not a file; for its entry run: sdfleet models add {source}"
    try:
        usable_path(source.removeprefix("file:") if source.startswith("file:") else "")
    except ValueError as error:
        return str(error)
    return ""


def _has_scheme(source: str) -> str:
    if not source.startswith(SCHEMES):
        own = f"file:{source}" if not foreign(source) else "file:PATH, PATH on this machine"
        raise ValueError(f"{source!r} has no known scheme; allowed are {' '.join(SCHEMES)} (a file of yours: {own})")
    return is_line(source)


class Model(Settings):
    """One file (or hub snapshot) of the manifest."""

    name: FileName = Field(description="Name in the WebUI, in any script, without suffix.")
    kind: Kind = Field(
        description=f"What it is; decides the folder: {', '.join([*FOLDERS, HUB])}. "
        'That of an extension is named as it is below the WebUI\'s data folder: "models/FOLDER".'
    )
    folder: Subfolder = Field(
        default="", description='Folder below that of its kind, e.g. "styles/ink"; one that is not there is made.'
    )
    source: Annotated[str, AfterValidator(_has_scheme)] = Field(
        description="hf:OWNER/REPO/FILE[@REVISION] (kind hub: hf:OWNER/REPO[@REVISION]), "
        "modelscope:OWNER/NAME/FILE[@REVISION], civitai:VERSION_ID, a URL, file:PATH on the controller, "
        "host:NAME/PATH (a model of another host of the fleet, PATH below its WebUI's data folder), "
        "adopted:FILE (lies in the host's store, by `sdfleet models adopt`), or run:NAME."
    )
    sha256: Annotated[str | None, BeforeValidator(as_sha256)] = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="What the bytes must hash to; always in the lock.",
    )
    groups: tuple[str, ...] = Field(default=(), description="Groups whose hosts get it; empty means all.")
    files: tuple[str, ...] = Field(
        default=(),
        description="Kind hub only: which files of the repository are wanted, by name or pattern (*.json); "
        "empty means the one that the source names.",
    )
    allow_pickle: bool = Field(
        default=False, description="Accept a .ckpt/.pt/.bin, which can run code when it is loaded."
    )

    @model_validator(mode="after")
    def _source_fits(self) -> "Model":
        problems = []
        if self.kind == "hub" and not self.source.startswith("hf:"):
            problems.append(f"source: a model of kind hub comes from hf:OWNER/REPO, not from {self.source!r}")
        elif (said := _malformed(self.source, self.kind == "hub")) or (said := _unusable(self.source)):
            problems.append(f"source: {said}")
        elif self.kind == "hub" and not self.files and not FORMS["hf:"][0].match(self.source):
            problems.append('files: its source is a whole repository; name the wanted files, e.g. files = ["*.json"]')
        if self.source.startswith(ADOPTED) and self.sha256 is None:
            problems.append("sha256: is required, as adopted: says no more of the file than its name")
        if self.folder and self.kind == HUB:
            problems.append("folder: a model of kind hub lies where the Hugging Face cache wants it")
        if self.files and self.kind != "hub":
            problems.append("files: only a model of kind hub has several; write one [[models]] table per file")
        raise_all(problems, self)
        return self


def folder_of(model: Model) -> PurePosixPath:
    """The folder of a model below the WebUI's data dir. Not for kind hub."""
    return FOLDERS.get(model.kind, PurePosixPath(model.kind)) / model.folder


class Pin(Settings):
    """A file of a model as resolved by `sdfleet lock`."""

    path: FilePath = Field(description="Name of the file at its source, e.g. unet/model.safetensors.")
    url: Address = Field(description="Where its origin (not a mirror) serves exactly these bytes.")
    sha256: Sha256 = Field(description="What the bytes hash to.")
    size: int | None = Field(default=None, ge=0, le=2**53, description="Its size in bytes; always in the lock.")


BaseVersion = Literal["SD1", "SD2", "SDXL", "Unknown"]
"""The WebUI's names of model families."""


class ModelCard(Settings):
    """A source's description of a model, for the card that the WebUI shows."""

    version: BaseVersion = "Unknown"
    words: tuple[Line, ...] = Field(default=(), description="Words that wake it in a prompt.")
    page: Line = Field(default="", description="Where it is described.")
    preview: Line = Field(default="", description="URL of a picture; not pinned, as it decides nothing.")


class LockedModel(Model):
    """A model with its entry in fleet.lock."""

    revision: Revision = Field(default="", description="Commit or version the source's name stood for.")
    pins: tuple[Pin, ...] = Field(description="Its files, sorted by path.")
    card: ModelCard | None = None


def unlocked(model: Model) -> Model:
    """The model as in fleet.toml, without its entry in the lock."""
    return Model.model_validate(model.model_dump(include=set(Model.model_fields)))


CLIP = Model(
    name="clip-vit-large-patch14",
    kind="hub",
    source="hf:openai/clip-vit-large-patch14",
    files=("config.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json"),
)
"""The tokenizer that every SD 1.x model needs; the WebUI would download it at start, but it runs offline."""
