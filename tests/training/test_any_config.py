"""Whatever stands in a training config, a dataset's file or its folders, it is read or refused in sentences."""

import io
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.mutations import DEEP, ENDLESS, FEW, MANY, TEXTS, VALUES, Tables, as_toml, changed, encoded
from training import kohya
from training.config import Config, Data, Network, Train
from training.data import pictures
from training.errors import InputError
from training.kohya.datasets import KNOWN as DATASET_KEYS
from training.kohya.keys import KNOWN
from training.review.command import config_of
from training.review.dataset import review
from training.review.report import html_page, text_report

OURS: Tables = {
    "name": "cat",
    "model": {"checkpoint": "base.safetensors", "family": "sd1", "clip_skip": 2},
    "data": {
        "folder": "pictures",
        "resolution": [64, 64],
        "buckets": {"min_side": 48, "max_side": 96, "step": 16},
        "captions": {"extensions": [".txt"], "shuffle": True, "keep_tokens": 1, "wildcards": True, "prefix": "p"},
        "augment": {"flip": True},
        "subsets": [{"folder": "pictures/2_cat", "repeats": 2, "captions": {"required": False}, "resolution": 64}],
    },
    "network": {"kind": "lora", "rank": 2, "alpha": 1.0},
    "objective": {"min_snr_gamma": 5, "noise_offset": 0.1, "loss": "l2"},
    "optimizer": {"kind": "AdamW", "learning_rate": 1e-3, "args": {"weight_decay": 0.1, "betas": [0.9, 0.99]}},
    "schedule": {"kind": "cosine", "warmup_steps": 0.1},
    "train": {"steps": 4, "batch_size": 2, "device": "cpu"},
    "save": {"every_steps": 2, "keep": 1},
    "sample": {"prompts": ["a cat --w 64"], "every_steps": 2},
    "validation": {"share": 0.1},
    "resources": {"gpus": 1},
}
KOHYA: Tables = {
    "pretrained_model_name_or_path": "base.safetensors",
    "train_data_dir": "pictures",
    "resolution": "64,64",
    "max_train_epochs": 1,
    "enable_bucket": True,
    "min_bucket_reso": 48,
    "max_bucket_reso": 96,
    "bucket_reso_steps": 16,
    "network_module": "lycoris.kohya",
    "network_dim": 8,
    "network_alpha": 4,
    "network_args": ["algo=locon", "conv_dim=4", "preset=attn-mlp"],
    "optimizer_type": "AdamW8bit",
    "optimizer_args": ["weight_decay=0.1"],
    "learning_rate": 1e-4,
    "text_encoder_lr": [1e-5, 1e-5],
    "lr_warmup_steps": "10%",
    "sample_prompts": "a cat --w 64, b",
    "sample_every_n_epochs": 1,
    "output_name": "小猫 v1",
    "caption_extension": ".txt",
    "log_with": "tensorboard",
    "mixed_precision": "fp16",
}
DATASET: Tables = {
    "general": {"caption_extension": ".txt", "enable_bucket": True, "shuffle_caption": True},
    "datasets": [
        {
            "resolution": 64,
            "batch_size": 2,
            "subsets": [{"image_dir": "pictures/2_cat", "num_repeats": 2, "class_tokens": "cat", "flip_aug": True}],
        }
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("any"))


def made(folder: Path) -> Path:
    """A folder with two pictures in pictures/2_cat."""
    (folder / "pictures/2_cat").mkdir(parents=True)
    for number, color in enumerate(("red", "blue")):
        Image.new("RGB", (70, 50), color).save(folder / f"pictures/2_cat/{number}.png")
        (folder / f"pictures/2_cat/{number}.txt").write_text("a {red|blue} cat\nanother")
    return folder


def read(folder: Path, data: bytes, other: bytes | None = None) -> str:
    """How a config is read, and its pictures: "result" or "sentences"."""
    file = folder / "config.toml"
    file.write_bytes(data)
    if other is not None:
        (folder / "dataset.toml").write_bytes(other)
    try:
        config, report = kohya.load_any(file, folder)
        assert report is None or str(report)
        _told(config.data)
        return "result"
    except InputError as error:
        _sentences(error)
        return "sentences"


def _told(data: Any) -> None:
    try:
        pictures.find_pictures(data)
    except InputError as error:
        _sentences(error)


def _sentences(error: InputError) -> None:
    assert error.problems
    for problem in error.problems:
        assert problem and "[type=" not in problem and len(problem) < 12_000, problem


def look(folder: Path, files: dict[str, bytes]) -> str:
    """How a dataset's folder is reviewed, and its pictures found."""
    root = folder / "dataset"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for name, content in files.items():
        try:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        except (OSError, ValueError):
            continue  # two names that cannot be beside each other
    config = config_of(root, 64, 1, 1)
    found = review(config, None, lambda words: len(words.split()))
    assert text_report(found, root) and html_page(found, root)
    try:
        return f"result {len(pictures.find_pictures(config.data)) > 0}"
    except InputError as error:
        _sentences(error)
        return "sentences"


def _png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (70, 50), "green").save(stream, "PNG")
    return stream.getvalue()


PNG = _png()
OUR_NAMES = tuple(name for table in (Config, Data, Network, Train) for name in table.model_fields)
OURS_TOML = encoded(changed(OURS, OUR_NAMES).map(as_toml))
KOHYA_TOML = encoded(changed(KOHYA, tuple(KNOWN)).map(as_toml))
RANDOM = encoded(st.dictionaries(st.sampled_from(sorted({*OURS, *KOHYA})) | TEXTS, VALUES, max_size=5).map(as_toml))
DATASET_TOML = encoded(changed(DATASET, tuple(DATASET_KEYS)).map(as_toml))
NAMES_IN_FOLDERS = st.one_of(
    st.sampled_from(
        ["a", "cat", "小猫", "a b", "x[1]", ".hidden", "é", "e\u0301", "$x", "a\nb", "--x", "%s", "\udce9", "x" * 249]
    ),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8),
).filter(lambda name: name not in (".", ".."))
FOLDERS = st.sampled_from(["2_cat/", "10_a b/", "0_x/", "cat/", "", "1_/", "999999999_x/", "3_x/4_y/", "٣_x/", "1 x/"])
ENDINGS = st.sampled_from([".png", ".jpg", ".txt", ".caption", ".webp", ".PNG", ".npz", "", ".json", ".avif"])
CONTENTS = st.one_of(
    st.just(PNG),
    st.integers(0, len(PNG)).map(lambda at: PNG[:at]),
    encoded(TEXTS),
    st.binary(max_size=60),
)
FILES = st.dictionaries(
    st.tuples(FOLDERS, NAMES_IN_FOLDERS, ENDINGS).map("".join),
    CONTENTS,
    max_size=6,
).map(lambda files: files | {"2_cat/sound.png": PNG, "2_cat/sound.txt": b"a cat"})


def test_the_sound_ones_are_sound(folder: Path) -> None:
    assert read(folder, as_toml(OURS).encode()) == "result"
    assert read(folder, as_toml(KOHYA).encode()) == "result"
    with_dataset = {**KOHYA, "dataset_config": "dataset.toml"}
    assert read(folder, as_toml(with_dataset).encode(), as_toml(DATASET).encode()) == "result"


@FEW
@given(data=OURS_TOML | KOHYA_TOML | RANDOM)
def test_any_config(folder: Path, data: bytes) -> None:
    read(folder, data)


@FEW
@given(data=DATASET_TOML)
def test_any_dataset_file(folder: Path, data: bytes) -> None:
    read(folder, as_toml({**KOHYA, "dataset_config": "dataset.toml"}).encode(), data)


@FEW
@given(files=FILES)
def test_any_folder_of_pictures(folder: Path, files: dict[str, bytes]) -> None:
    look(folder, files)


@pytest.mark.slow
@MANY
@given(data=OURS_TOML | KOHYA_TOML | RANDOM)
def test_many_configs(folder: Path, data: bytes) -> None:
    read(folder, data)


@pytest.mark.slow
@MANY
@given(data=DATASET_TOML)
def test_many_dataset_files(folder: Path, data: bytes) -> None:
    read(folder, as_toml({**KOHYA, "dataset_config": "dataset.toml"}).encode(), data)


@pytest.mark.slow
@MANY
@given(files=FILES)
def test_many_folders_of_pictures(folder: Path, files: dict[str, bytes]) -> None:
    look(folder, files)


@pytest.mark.parametrize("text", [DEEP, ENDLESS])
def test_what_a_parser_gives_up_on(folder: Path, text: str) -> None:
    assert read(folder, text.encode()) == "sentences"
    preset = folder / "preset.json"
    preset.write_text(text.removeprefix("a = "))
    with pytest.raises(InputError, match=r"nested too deep|too many digits|one JSON object"):
        kohya.load_any(preset)
