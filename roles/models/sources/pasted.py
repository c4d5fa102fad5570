"""Makes an entry of the manifest from pasted text: a page's URL, an AIR or a hash."""

import json
import re
import struct
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from roles.models.config import LONGEST_BYTES, Model
from roles.models.sources import resolve
from roles.models.sources.civitai import SOURCE as CIVITAI_SOURCE
from roles.models.sources.civitai import Page, Version, choose_file
from roles.models.sources.plain import local_file
from roles.models.sources.web import HubClient, SourceError
from roles.token_services import CIVITAI

HUB_PAGE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/(blob|resolve)/(?P<revision>[^/]+)/(?P<path>.+)")
SCOPE_PAGE = re.compile(r"/models/(?P<repository>[^/]+/[^/]+)/(file/view|resolve)/(?P<revision>[^/]+)/(?P<path>.+)")
CIVITAI_PAGE = re.compile(r"/models/(?P<model>\d+)(/.*)?")
CIVITAI_DOWNLOAD = re.compile(r"/api/download/models/(?P<version>\d+)")
AIR = re.compile(r"(urn:)?(air:)?[\w-]+:[\w-]+:civitai:(?P<model>\d+)@(?P<version>\d+)")
LIBLIB = ("liblib.art", "liblib.ai", "liblib.cloud", "liblibai.com")
HASH = re.compile(r"[0-9A-Fa-f]{8}|[0-9A-Fa-f]{10}|[0-9A-Fa-f]{64}")
"""CRC32, AutoV2 and SHA256, as Civitai's pages show them."""

CIVITAI_KINDS: dict[str, str] = {
    "Checkpoint": "checkpoint",
    "LORA": "lora",
    "LoCon": "lora",
    "DoRA": "lora",
    "TextualInversion": "embedding",
    "Hypernetwork": "hypernetwork",
    "VAE": "vae",
    "Controlnet": "controlnet",
    "Upscaler": "upscaler",
}
TENSORS: tuple[tuple[str, str], ...] = (
    (r"control_model\.|controlnet_cond_embedding\.", "controlnet"),
    (r"model\.diffusion_model\.", "checkpoint"),
    (r"lora_(unet|te)|.*\.(lora_(up|down|A|B)|hada_w1_a|lokr_w1)", "lora"),
    (r"(first_stage_model\.)?(encoder|decoder)\.(conv_in|mid|up|down)", "vae"),
    (r"emb_params|clip_[lg]$", "embedding"),
)
"""Names of tensors that identify a kind of model, the most specific first."""
HEADER_BYTES = 4 << 20
"""How much of a file is read to find out its kind; an SDXL checkpoint's header has 300 kB."""


def entry_for(
    pasted: str, client: HubClient, name: str | None = None, kind: str | None = None, sha256: str | None = None
) -> Model:
    """The manifest's entry for pasted text.

    + name: name, if not the source's
    + kind: kind, if neither source nor file show it
    + sha256: hash, if it is known
    Raises SourceError if the entry cannot be determined.
    """
    source = _source(pasted.strip(), client)
    told, told_name = _civitai(source, client) if CIVITAI_SOURCE.fullmatch(source) else (None, _stem(source))
    found = kind or told or _kind_of_file(source, client)
    if found is None:
        raise SourceError(f"neither {source} nor the file says what kind of model it is; give --kind")
    return Model(name=name_of(name or told_name), kind=found, source=source, sha256=sha256)


def _source(pasted: str, client: HubClient) -> str:
    """The source in the syntax of fleet.toml."""
    if air := AIR.fullmatch(pasted):
        return f"civitai:{air['version']}"
    if HASH.fullmatch(pasted):
        return f"civitai:{client.json(f'{CIVITAI}/api/v1/model-versions/by-hash/{pasted.upper()}', Version).id}"
    parts = urlsplit(pasted)
    host, path = (parts.hostname or "").removeprefix("www."), unquote(parts.path)
    if host.endswith(LIBLIB):
        raise SourceError(
            "LiblibAI gives models only to people who are logged in there: download the file, then "
            "`sdfleet models add file:PATH`, or put it on a web server and paste that URL with --sha256"
        )
    if host in ("civitai.com", "civitai.red"):
        return _civitai_source(path, parse_qs(parts.query), client)
    if host in ("huggingface.co", "hf.co", "hf-mirror.com") and (page := HUB_PAGE.fullmatch(path)):
        return f"hf:{page['repository']}/{page['path']}" + _at(page["revision"], "main")
    if host in ("modelscope.cn", "modelscope.ai") and (page := SCOPE_PAGE.fullmatch(path)):
        return f"modelscope:{page['repository']}/{page['path']}" + _at(page["revision"], "master")
    if host in ("huggingface.co", "hf.co", "hf-mirror.com", "modelscope.cn", "modelscope.ai"):
        raise SourceError(f"{pasted} is a repository's page; paste the page of one of its files")
    return pasted


def _at(revision: str, default: str) -> str:
    return "" if revision == default else f"@{revision}"


def _civitai_source(path: str, query: dict[str, list[str]], client: HubClient) -> str:
    if download := CIVITAI_DOWNLOAD.fullmatch(path):
        file = query.get("fileId", [""])[0]
        return f"civitai:{download['version']}" + (f"/{file}" if file else "")
    if version := query.get("modelVersionId"):
        return f"civitai:{version[0]}"
    if page := CIVITAI_PAGE.fullmatch(path):
        versions = client.json(f"{CIVITAI}/api/v1/models/{page['model']}", Page).versions
        if versions:
            return f"civitai:{versions[0].id}"
    raise SourceError("that page of Civitai shows no model; paste a model's page, its download link, AIR or hash")


def _civitai(source: str, client: HubClient) -> tuple[str | None, str]:
    """Kind and name that Civitai gives a version."""
    found = CIVITAI_SOURCE.fullmatch(source)
    version = client.json(f"{CIVITAI}/api/v1/model-versions/{found['version'] if found else ''}", Version)
    file = choose_file(version, found["file"] if found else None)
    return CIVITAI_KINDS.get(version.model.type), PurePosixPath(file.name).stem


def _stem(source: str) -> str:
    without_revision = source.partition("@")[0] if not source.startswith(("http", "file:")) else source
    return PurePosixPath(unquote(urlsplit(without_revision).path)).stem


def name_of(text: str) -> str:
    """A valid name in the manifest."""
    kept = "".join(sign if sign.isprintable() else " " for sign in text)
    name = re.sub(r"[^A-Za-z0-9._\u0080-\U0010ffff-]+", "-", kept).strip("-._")
    return name.encode()[:LONGEST_BYTES].decode(errors="ignore").rstrip("-._") or "model"


def _kind_of_file(source: str, client: HubClient) -> str | None:
    """The kind of a safetensors file by the names of its tensors; None for any other file."""
    probe = resolve(Model(name="probe", kind="checkpoint", source=source), client)
    [pin] = probe.pins
    if not pin.path.endswith((".safetensors", ".sft")):
        return None
    if source.startswith("file:"):
        with local_file(probe, client.here).open("rb") as file:
            beginning = file.read(HEADER_BYTES)
    else:
        beginning = client.beginning(pin.url, HEADER_BYTES)
    return kind_of(beginning)


def kind_of(beginning: bytes) -> str | None:
    """The kind of a safetensors file by its beginning; None if its tensors do not show it."""
    try:
        (length,) = struct.unpack_from("<Q", beginning)
        header = json.loads(beginning[8 : 8 + length])
    except (struct.error, ValueError, RecursionError):
        return None
    names = list(header) if isinstance(header, dict) else []
    for pattern, kind in TENSORS:
        if any(re.match(pattern, name) for name in names):
            return kind
    return None
