"""What a model may be called, and where it may lie: any script, subfolders, folders of extensions, and nothing else."""

import subprocess
from pathlib import Path, PurePosixPath

import pytest

from deploy.status import _places
from inventory.errors import ConfigError
from inventory.load import load
from roles.mirrors.config import Mirrors
from roles.models.config import Model
from roles.models.sources.pasted import name_of
from roles.models.state import parse_store, store_command
from roles.models.wanted import wanted
from roles.paths import Paths

SHA = "ab" * 32
PATHS = Paths()
DATA = PATHS.data("webui")


def model(more: str, name: str = "m", kind: str = "lora") -> str:
    return (
        f'[fleet]\nname = "s"\n[hosts.a]\naddress = "a.example"\ngroups = ["webui"]\n[[models]]\nname = "{name}"\n'
        f'kind = "{kind}"\nsource = "https://x.example/f.safetensors"\nsha256 = "{SHA}"\n{more}\n'
    )


def loaded(folder: Path, text: str) -> Model:
    file = folder / "fleet.toml"
    file.write_text(text)
    return next(each for each in load(file).hosts["a"].models if each.kind != "hub")


PLACES = {
    ("小猫 v1", "lora", 'folder = "风格/ink"'): "models/Lora/风格/ink/小猫 v1.safetensors",
    ("кот (2).fp16", "checkpoint", ""): "models/Stable-diffusion/кот (2).fp16.safetensors",
    ("bad-hands", "embedding", 'folder = "negative"'): "embeddings/negative/bad-hands.safetensors",
    ("face_yolov8n", "adetailer", ""): "models/adetailer/face_yolov8n.safetensors",
    ("clip_g", "clip_vision", ""): "models/clip_vision/clip_g.safetensors",
    ("it's", "models/My extension/deep", ""): "models/My extension/deep/it's.safetensors",
}


@pytest.mark.parametrize(("name", "kind", "more"), PLACES)
def test_a_model_lies_where_it_is_told_to(name: str, kind: str, more: str, tmp_path: Path) -> None:
    place = DATA / PLACES[name, kind, more]
    found = loaded(tmp_path, model(more, name, kind))
    [file] = wanted([found], PATHS, Mirrors()).files
    assert file.link == place
    assert str(place) in _places(found, PATHS)


BAD = {
    "upwards": (model('folder = "../x"'), "models.m.folder: '..' is no name"),
    "absolute": (model('folder = "/etc"'), "models.m.folder: '/etc' must be a path below a folder"),
    "twice": (model('folder = "a//b"'), "models.m.folder: 'a//b' must be a path below a folder"),
    "hidden": (model('folder = ".git"'), "models.m.folder: '.git' is no name"),
    "line break": (model('folder = "a\\nb"'), "models.m.folder: 'a\\nb' has '\\n' in it"),
    "slash in a name": (model("", name="a/b"), "models.a/b.name: 'a/b' has '/' in it"),
    "prompt": (model("", name="a:b"), "has ':' in it"),
    "too long": (model("", name="猫" * 70), "is too long: 200 bytes"),
    "typo": (model("", kind="checkpont"), "no kind 'checkpont' (did you mean checkpoint?)"),
    "kind upwards": (model("", kind="models/.."), "models.m.kind: '..' is no name"),
    "folder with a name": (model("", kind="models/Lora"), 'is the folder of a kind that has a name; write "lora"'),
    "hub": (
        model('folder = "x"', kind="hub").replace("https://x.example/f.safetensors", "hf:o/r/f"),
        "folder: a model of kind hub lies where",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_place_is_told(case: str, tmp_path: Path) -> None:
    text, sentence = BAD[case]
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert sentence in str(caught.value)


def test_a_link_whose_extension_left_the_manifest_is_found_and_removed(tmp_path: Path) -> None:
    place = Paths(root=PurePosixPath(tmp_path))
    link = Path(place.data("webui")) / "models/adetailer/deep/face.safetensors"
    link.parent.mkdir(parents=True)
    link.symlink_to(place.blob(SHA))
    shown = subprocess.run(["sh", "-c", store_command(place)], capture_output=True, text=True, check=True).stdout
    seen = parse_store(shown.splitlines(), place)
    assert seen.unwanted(wanted([], place, Mirrors())) == [PurePosixPath(link)]


def test_a_pasted_name_keeps_its_script() -> None:
    assert name_of("小猫 v1") == "小猫-v1"
    assert name_of("../a b:c\n") == "a-b-c"
    assert len(name_of("猫" * 200).encode()) <= 200
