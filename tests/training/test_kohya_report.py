"""The report on a kohya file says of each key one thing: what the run makes of it, or why nothing comes of it."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from tests.mutations import examples
from training import kohya
from training.errors import InputError
from training.kohya import options
from training.kohya.datasets import KNOWN as DATASET_KEYS
from training.kohya.gui import NETWORKS
from training.kohya.honoured import EQUIVALENTS
from training.kohya.keys import KNOWN
from training.kohya.report import Report
from training.kohya.unhonoured import REASONS

Tables = dict[str, Any]

SOUND: Tables = {
    "pretrained_model_name_or_path": "base.safetensors",
    "train_data_dir": "pictures",
    "resolution": "512,512",
    "max_train_epochs": 1,
    "seed": 1,
}
LIKELY: dict[str, list[Any]] = {
    "network_module": ["networks.lora", "lycoris.kohya", "networks.loha", "networks.lokr"],
    "network_args": [
        [],
        ["conv_dim=4"],
        ["conv_dim=0", "conv_alpha=0"],
        ["algo=lora", "preset=unet-only"],
        ["algo=loha", "dora_wd=True", "use_tucker=True"],
        ["algo=locon", "preset=attn-mlp", "conv_dim=4"],
        ["algo=lokr", "preset=unet-transformer-only", "factor=4"],
        ["preset=full", "dora_wd=True"],
    ],
    "optimizer_type": ["AdamW", "Adafactor", "Prodigy"],
    "optimizer_args": [[], ["relative_step=False"], ["weight_decay=0.1"]],
    "lr_scheduler": ["constant", "cosine", "polynomial", "warmup_stable_decay"],
    "loss_type": ["l2", "huber"],
    "learning_rate": [0, 0.0, 1e-4],
    "unet_lr": [0, 1e-4],
    "text_encoder_lr": [0, 1e-5, [1e-5, 2e-5]],
    "model_type": ["sd1.5", "sdxl"],
    "model_train_type": ["sd-lora", "sdxl-lora"],
    "mixed_precision": ["no", "fp16", "bf16"],
    "log_with": ["tensorboard", "wandb", "all"],
    "sample_prompts": ["a cat --w 64", "prompts.txt"],
    "LoRA_type": list(NETWORKS),
    "noise_offset_type": ["Original", "Multires"],
    "xformers": [True, False, "xformers", "sdpa"],
    "additional_parameters": ["", "--clip_skip 2", "--network_args conv_dim=4", "--learning_rate=0"],
    "max_resolution": ["512,512"],
    "optimizer": ["AdamW", "Adafactor"],
    "sdxl": [True, False],
}
PLAIN: list[Any] = [0, 1, 0.5, "", True, False, "a", 64]


def toml(folder: Path, values: Tables) -> Path:
    file = folder / "kohya.toml"
    file.write_text(tomlkit.dumps(values))
    return file


def preset(folder: Path, values: Tables) -> Path:
    return toml(folder, {"metadata": {"name": "x", "version": "1"}, "data": values})


def dataset(folder: Path, values: Tables) -> Path:
    """Keys of datasets in [general] and beside [[datasets]], in a file whose training file has the others."""
    own = {key: value for key, value in values.items() if key in DATASET_KEYS - {*SOUND}}
    tables = {"general": own, "datasets": [{"batch_size": 1, "subsets": [{"image_dir": "a"}]}]}
    (folder / "data.toml").write_text(tomlkit.dumps(tables))
    return toml(folder, {"dataset_config": str(folder / "data.toml")} | values)


def window(folder: Path, values: Tables) -> Path:
    file = folder / "kohya.json"
    file.write_text(json.dumps({"LoRA_type": "Standard"} | values))
    return file


def easy(folder: Path, values: Tables) -> Path:
    subsets = [{"image_dir": "a", "num_repeats": 2}]
    return toml(folder, {"subsets": subsets, "general_args": {"args": values, "dataset_args": {"resolution": 512}}})


def script(folder: Path, values: Tables) -> Path:
    """Each option from a variable of its own; those that share a value share the variable too."""
    lines, words = [], []
    names: dict[str, str] = {}
    for key, value in values.items():
        if key not in options.ALL or value is False:
            continue
        if key in options.FLAGS:
            words.append(f"--{key}")
        elif key in options.LISTS:
            words.append(" ".join([f"--{key}", *map(str, value if isinstance(value, list) else [value])]))
        else:
            name = names.setdefault(str(value), f"value_{len(names)}")
            lines.append(f'{name}="{value}"')
            words.append(f'--{key}="${name}"')
    file = folder / "train.sh"
    launch = "accelerate launch --mixed_precision=fp16 train_network.py"
    file.write_text("\n".join([*lines, " ".join([launch, *words]), ""]))
    return file


READERS = {"toml": toml, "preset": preset, "dataset": dataset, "window": window, "easy": easy, "script": script}


def report_of(file: Path) -> Report | None:
    """The report; None if the file is refused."""
    try:
        found = kohya.translate(file, file.parent)
        if found.preset:
            return found.report
        return kohya.load_any(file, file.parent)[1]
    except InputError:
        return None


def contradictions(report: Report) -> set[str]:
    honoured = {entry.key for entry in report.honoured}
    return honoured & {entry.key for entry in report.not_honoured} | honoured & {name for name, _ in report.deciding}


@cache
def accepted(reader: str, folder: Path) -> dict[str, list[Any]]:
    """The values of each key that this reader takes, alone beside a sound file."""
    found: dict[str, list[Any]] = {}
    for key in sorted(KNOWN | {*LIKELY} - {*SOUND}):
        values = LIKELY.get(key, PLAIN)
        free = key in REASONS and key not in EQUIVALENTS
        found[key] = [v for v in values if free or report_of(READERS[reader](folder, SOUND | {key: v})) is not None]
    return {key: values for key, values in found.items() if values}


COUNTED: dict[str, list[int]] = {reader: [0, 0] for reader in READERS}
"""Files tried, and files read, by reader."""


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_no_key_is_both_honoured_and_not(reader: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp(reader)
    known = accepted(reader, folder)
    assert len(known) > 100

    @examples(400)
    @given(st.data())
    def tried(data: st.DataObject) -> None:
        keys = data.draw(st.lists(st.sampled_from(sorted(known)), max_size=12, unique=True))
        likely = data.draw(st.lists(st.sampled_from(sorted({*LIKELY} & {*known})), max_size=5, unique=True))
        values = {key: data.draw(st.sampled_from(known[key])) for key in {*keys, *likely}}
        report = report_of(READERS[reader](folder, SOUND | values))
        COUNTED[reader][0] += 1
        if report is not None:
            COUNTED[reader][1] += 1
            assert contradictions(report) == set(), values

    tried()
    print(f"{reader}: {COUNTED[reader][0]} files, {COUNTED[reader][1]} read")
    assert COUNTED[reader][1] > 100, COUNTED[reader]


def read(reader: str, folder: Path, values: Tables) -> Report:
    report = report_of(READERS[reader](folder, SOUND | values))
    assert report is not None
    return report


@pytest.mark.parametrize("reader", READERS)
def test_a_rate_of_0_is_told_once(reader: str, tmp_path: Path) -> None:
    report = read(reader, tmp_path, {"learning_rate": 0, "unet_lr": 1e-4})
    assert contradictions(report) == set()
    if reader != "window":  # which passes a text encoder's rate of its own
        assert "-> network.text_encoder = " in str(report)
    report = read(reader, tmp_path, {"learning_rate": 0, "unet_lr": 1e-4, "text_encoder_lr": 1e-5})
    assert contradictions(report) == set()
    assert "has no effect: UNet and text encoder have rates of their own" in str(report)


def test_a_preset_whose_layers_differ_is_told_once(tmp_path: Path) -> None:
    report = read(
        "toml", tmp_path, {"network_module": "lycoris.kohya", "network_args": ["algo=lora", "preset=unet-only"]}
    )
    assert contradictions(report) == set()
    assert "network_args: preset = 'unet-only' -> network.text_encoder = False" in str(report)
    assert "network_args: preset: unet-only: the layers here are those of sd-scripts" in str(report)


def test_a_variable_that_several_options_share_is_told_for_each(tmp_path: Path) -> None:
    script = tmp_path / "train.sh"
    script.write_text(
        "name=cat\naccelerate launch --mixed_precision=fp16 train_network.py --pretrained_model_name_or_path=b "
        "--train_data_dir=p --resolution=512 --mixed_precision=bf16 --output_name=$name --wandb_run_name=$name\n"
    )
    _, report = kohya.load_any(script)
    assert report is not None and contradictions(report) == set()
    lines = report.lines()
    assert "  name (--output_name) = 'cat' -> name = 'cat'" in lines
    assert "  name (--wandb_run_name) = 'cat': logs go to log.jsonl and TensorBoard, to no online service" in lines
    assert "  --mixed_precision = 'bf16' -> train.precision = 'bf16'" in lines
    assert any(line.startswith("  accelerate --mixed_precision = 'fp16': is about how accelerate") for line in lines)


def test_repeats_that_are_no_number_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data.toml").write_text('[[datasets]]\n[[datasets.subsets]]\nimage_dir = "a"\n')
    file = toml(tmp_path, SOUND | {"dataset_config": str(tmp_path / "data.toml"), "dataset_repeats": 0.5})
    with pytest.raises(InputError, match=r"dataset_repeats: must be a whole number \(is 0.5\)"):
        kohya.load_any(file, tmp_path)
