"""The content of the stand-ins, made on this machine, and its names in a fleet.toml."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from lab import tokenizer
from lab.learned.weights import write_learned_model
from lab.models import write_base_model
from lab.upstreams.hub import Hub
from lab.upstreams.repositories import publish, tag
from lab.upstreams.service import Folders

OWNER = "sdfleet-lab"
WEBUI = f"{OWNER}/stable-diffusion-webui-standin"
WEBUI_TAG = "v1.10.1-standin"
BASE_MODEL = f"{OWNER}/tiny-sd15"
BASE_MODEL_FILE = "tiny-sd15.safetensors"
LEARNED_MODEL = "learned-sd15"
"""What the demo draws with. Not for pictures of 64 pixels, as tests and gates have them: it is too narrow for these."""
LORA_SCRIPTS = f"{OWNER}/lora-scripts-standin"
SOURCE = Path(__file__).resolve().parent.parent / "standin_webui"
LORA_SCRIPTS_SOURCE = SOURCE.with_name("standin_lora_scripts")
COMFYUI = f"{OWNER}/ComfyUI-standin"
COMFYUI_TAG = "v0.3.64-standin"
COMFYUI_SOURCE = SOURCE.with_name("standin_comfyui")
DRAWING = SOURCE.with_name("standin_drawing")
"""What all that draws has in its repository."""

LORA_SCRIPTS_SUBMODULES = {
    "frontend": {
        "dist/index.html": b"<!doctype html><html><title>Stand-in</title><h1>Stand-in lora-scripts</h1></html>\n"
    },
    "mikazuki/dataset-tag-editor": {"scripts/launch.py": b'"""Stand-in."""\n'},
}
"""Path of each submodule, and its files."""

REPOSITORIES = {
    "stable-diffusion-webui-assets": "ASSETS",
    "stable-diffusion-stability-ai": "STABLE_DIFFUSION",
    "generative-models": "STABLE_DIFFUSION_XL",
    "k-diffusion": "K_DIFFUSION",
    "BLIP": "BLIP",
}
"""Folder below repositories/, and the prefix of the launcher's variables for it."""

_NOTE = "Test furniture of sdfleet's lab: an empty stand-in for {}. It holds none of the original's code.\n"

# Like the original's, this setup.py needs pkg_resources, which setuptools 81 dropped: a build without a constraint on
# setuptools fails here as well.
_CLIP_SETUP = b"""import pkg_resources
from setuptools import setup

assert pkg_resources
setup(name="clip", version="1.0", py_modules=["clip"], description="Stand-in of sdfleet's lab")
"""


@dataclass(frozen=True)
class Repository:
    """A git repository at a commit; the URL is github.com's, which mirrors serve."""

    url: str
    commit: str


@dataclass(frozen=True)
class Code:
    """The git repositories in a lab's fleet.toml."""

    webui: Repository
    repositories: dict[str, Repository]
    """By folder below repositories/."""
    packages: dict[str, Repository]
    """Python packages installed from git, by import name."""
    lora_scripts: Repository


@dataclass(frozen=True)
class Catalog(Code):
    """Everything that a lab's fleet.toml refers to."""

    requirements: Path
    """The stand-in WebUI's pinned requirements, unhashed."""
    lora_scripts_requirements: Path
    """The same of the stand-in lora-scripts."""
    comfyui: Repository
    comfyui_requirements: Path
    base_model_source: str
    base_model_sha256: str
    tokenizer_repository: str
    tokenizer_commit: str
    tokenizer_files: dict[str, str]
    """sha256 of each file."""


def build(root: Path) -> Catalog:
    """Make all content below `root` (an `Upstreams` root); content that is already the same is kept.

    Raises SdfleetError if CLIP's vocabulary cannot be downloaded.
    """
    folders = Folders(root)
    code = build_code(folders)
    digests = _write_hub(folders)
    return Catalog(
        webui=code.webui,
        repositories=code.repositories,
        packages=code.packages,
        lora_scripts=code.lora_scripts,
        lora_scripts_requirements=LORA_SCRIPTS_SOURCE / "requirements.txt",
        requirements=SOURCE / "requirements_versions.txt",
        comfyui=publish_comfyui(folders),
        comfyui_requirements=COMFYUI_SOURCE / "requirements.txt",
        base_model_source=f"hf:{BASE_MODEL}/{BASE_MODEL_FILE}",
        base_model_sha256=digests.pop(BASE_MODEL_FILE),
        tokenizer_repository=tokenizer.REPOSITORY,
        tokenizer_commit=_commit(folders, tokenizer.REPOSITORY),
        tokenizer_files=digests,
    )


def put_learned_model(root: Path) -> dict[str, str]:
    """Put the demo's base model on the hub below `root`. Returns its entry among a fleet.toml's models."""
    file = f"{LEARNED_MODEL}.safetensors"
    write_learned_model(Folders(root).hub / OWNER / LEARNED_MODEL / "main" / file)
    return {"name": LEARNED_MODEL, "kind": "checkpoint", "source": f"hf:{OWNER}/{LEARNED_MODEL}/{file}"}


def build_code(folders: Folders) -> Code:
    """Make the git repositories only."""
    repositories = {
        folder: _publish(folders, f"{OWNER}/{folder}-standin", {"README.md": _NOTE.format(folder).encode()})
        for folder in REPOSITORIES
    }
    clip_files = {"README.md": _NOTE.format("CLIP").encode(), "setup.py": _CLIP_SETUP, "clip.py": b'"""Stand-in."""\n'}
    clip = _publish(folders, f"{OWNER}/CLIP-standin", clip_files)
    webui = _publish(folders, WEBUI, _webui_files(repositories, clip))
    tag(folders.git / f"{WEBUI}.git", WEBUI_TAG, webui.commit)
    return Code(webui, repositories, {"clip": clip}, _lora_scripts(folders))


def publish_comfyui(folders: Folders) -> Repository:
    """Publish the stand-in ComfyUI; like the original it brings its tokenizer. Raises SdfleetError as `build`."""
    files = _sources(COMFYUI_SOURCE) | _sources(DRAWING)
    files |= {f"comfy/sd1_tokenizer/{name}": data for name, data in tokenizer.tokenizer_files().items()}
    files[".gitignore"] = b"__pycache__/\n*.py[cod]\n/output/\n/input/\n/temp/\n/user/\nextra_model_paths.yaml\n"
    comfyui = _publish(folders, COMFYUI, files)
    tag(folders.git / f"{COMFYUI}.git", COMFYUI_TAG, comfyui.commit)
    return comfyui


def _lora_scripts(folders: Folders) -> Repository:
    """Publish the stand-in lora-scripts and its submodules."""
    parts = {}
    for place, files in LORA_SCRIPTS_SUBMODULES.items():
        name = f"{OWNER}/{place.rpartition('/')[2]}-standin"
        part = _publish(folders, name, {"README.md": _NOTE.format(place).encode(), **files})
        parts[place] = (part.url, part.commit)
    files = {**_sources(LORA_SCRIPTS_SOURCE), ".gitignore": b"__pycache__/\n/assets/config.json\n"}
    message = f"Stand-in for tests of sdfleet: {LORA_SCRIPTS}"
    commit = publish(folders.git / f"{LORA_SCRIPTS}.git", files, message, parts)
    return Repository(f"https://github.com/{LORA_SCRIPTS}.git", commit)


def _sources(folder: Path) -> dict[str, bytes]:
    """Content of all files below `folder` except compiled ones, by path."""
    found = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def _commit(folders: Folders, repository: str) -> str:
    found = Hub(folders.hub).revision(repository, "main")
    assert found is not None, f"{repository} was just written"
    return found.commit


def _publish(folders: Folders, name: str, files: dict[str, bytes]) -> Repository:
    commit = publish(folders.git / f"{name}.git", files, f"Stand-in for tests of sdfleet: {name}")
    return Repository(f"https://github.com/{name}.git", commit)


def _webui_files(repositories: dict[str, Repository], clip: Repository) -> dict[str, bytes]:
    """The stand-in's sources, and the defaults of its launcher's variables."""
    files = _sources(SOURCE) | _sources(DRAWING)
    defaults = {"TORCH_COMMAND": "pip install torch==2.13.0"}
    defaults["CLIP_PACKAGE"] = f"{clip.url.removesuffix('.git')}/archive/{clip.commit}.zip"
    for folder, prefix in REPOSITORIES.items():
        defaults[f"{prefix}_REPO"] = repositories[folder].url
        defaults[f"{prefix}_COMMIT_HASH"] = repositories[folder].commit
    files["launch_defaults.json"] = (json.dumps(defaults, indent=4) + "\n").encode()
    files[".gitignore"] = b"__pycache__/\n/repositories/\n/config_states/\n/venv/\n/tmp/\n"
    return files


def _write_hub(folders: Folders) -> dict[str, str]:
    """Write the hub's repositories; returns sha256 by file name."""
    model = folders.hub / BASE_MODEL / "main" / BASE_MODEL_FILE
    digests = {BASE_MODEL_FILE: write_base_model(model)}
    (model.parent / "README.md").write_text(_NOTE.format("a Stable Diffusion 1.5 checkpoint"))
    home = folders.hub / tokenizer.REPOSITORY / "main"
    home.mkdir(parents=True, exist_ok=True)
    for name, data in tokenizer.tokenizer_files().items():
        (home / name).write_bytes(data)
        digests[name] = hashlib.sha256(data).hexdigest()
    return digests
