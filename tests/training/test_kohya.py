"""Configs of kohya's sd-scripts and lora-scripts, read as they are: every key has its place or its reason."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from training import config, kohya
from training.kohya.keys import KNOWN

FILES = Path(__file__).parent / "kohya_files"
TREE = Path(__file__).resolve().parents[2]
WHOLE = ("sections.toml", "flat.toml", "with_dataset.toml", "window.toml", "train.sh")


def settings(name: str, tmp_path: Path) -> dict[str, Any]:
    return kohya.load_any(FILES / name, tmp_path)[0].model_dump(exclude_defaults=True)


def keys_of(file: Path) -> set[str]:
    """All keys that a file holds, found without our reader."""
    text = file.read_text()
    if file.suffix == ".sh":
        own = {"extArgs", "launchArgs", "trainer_file", "ext_args"}
        found = set(re.findall(r"^(?:export )?(\w+)=", text, flags=re.M)) - own
        options = re.findall(r"(--\w+)(?:=\"|=\d|\s|=\.)", text[text.index("accelerate launch") :])
        return found | set(options)
    tables = tomllib.loads(text)
    flat = {key for table in tables.values() if isinstance(table, dict) for key in table}
    return flat | {key for key, value in tables.items() if not isinstance(value, dict | list)}


@pytest.mark.parametrize("name", WHOLE)
def test_no_key_is_silently_dropped(name: str, tmp_path: Path) -> None:
    _, report = kohya.load_any(FILES / name, tmp_path)
    assert report is not None
    named = {re.split(r"[: (]", key)[0] for key in report.keys}
    assert keys_of(FILES / name) - named <= {"--num_cpu_threads_per_process"}


@pytest.mark.parametrize("name", WHOLE)
def test_the_printed_toml_is_the_same_config(name: str, tmp_path: Path) -> None:
    translation = kohya.translate(FILES / name, tmp_path)
    loaded, _ = kohya.load_any(FILES / name, tmp_path)
    ours = tmp_path / "ours.toml"
    ours.write_text(kohya.to_toml(loaded, translation.origins, "made from kohya's"))
    assert config.load_config(ours) == loaded
    again, report = kohya.load_any(ours)
    assert (again, report) == (loaded, None)


def test_sections(tmp_path: Path) -> None:
    found = settings("sections.toml", tmp_path)
    assert found["name"] == "cat"
    assert found["model"] == {
        "checkpoint": tmp_path / "models/base.safetensors",
        "prediction": "epsilon",
        "clip_skip": 2,
        "max_token_length": 225,
    }
    assert found["data"]["folder"] == tmp_path / "train/cat"
    assert found["data"]["resolution"] == (512, 640)
    assert found["data"]["buckets"] == {"min_side": 320, "max_side": 960}
    assert found["data"]["captions"] == {
        "extensions": (".txt",),
        "lines": "first",
        "shuffle": True,
        "keep_tokens": 1,
    }
    assert found["network"] == {"rank": 24, "alpha": 12.0, "text_encoder": True}
    assert found["objective"] == {"noise_offset": 0.05, "prior_loss_weight": 0.7}
    assert found["optimizer"]["kind"] == "AdamW8bit"
    assert (found["optimizer"]["unet_learning_rate"], found["optimizer"]["text_encoder_learning_rate"]) == (2e-4, 1e-5)
    assert found["schedule"] == {"kind": "cosine_with_restarts", "cycles": 2}
    assert found["train"] == {
        "epochs": 7,
        "batch_size": 3,
        "seed": 7,
        "precision": "fp16",
        "attention": "xformers",
    }
    assert found["save"] == {"every_epochs": 2, "keep": 9}


def test_missing_keys_mean_what_kohya_does(tmp_path: Path) -> None:
    file = tmp_path / "short.toml"
    file.write_text('pretrained_model_name_or_path = "a"\ntrain_data_dir = "b"\nresolution = 512\n')
    found, report = kohya.load_any(file, tmp_path)
    assert report is not None
    assert (found.network.rank, found.network.alpha, found.network.text_encoder) == (4, 1.0, True)
    assert (found.optimizer.learning_rate, found.schedule.kind) == (2e-6, "constant")
    assert (found.train.steps, found.train.epochs, found.train.precision, found.save.precision) == (
        1600,
        None,
        "fp32",
        "fp32",
    )
    assert found.data.captions.extensions == (".caption",)
    assert not found.data.buckets.enabled
    assert len(report.notes) == 2


def test_lycoris_and_optimiser_arguments(tmp_path: Path) -> None:
    found = settings("flat.toml", tmp_path)
    assert found["network"] == {
        "kind": "lokr",
        "conv_rank": 4,
        "conv_alpha": 2.0,
        "rank_dropout": 0.1,
        "lokr_factor": 8,
    }
    assert found["optimizer"] == {
        "kind": "Prodigy",
        "learning_rate": 1.0,
        "args": {"weight_decay": 0.01, "betas": (0.9, 0.99), "decouple": True},
    }
    assert found["model"]["family"] == "sd2"
    assert found["model"]["prediction"] == "v_prediction"
    assert found["save"] == {"precision": "fp32", "every_steps": 500, "keep": 4}
    assert found["sample"]["sampler"] == "k_dpm_2"


def test_a_relative_base_counts_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found, _ = kohya.load_any(FILES / "sections.toml", Path())
    assert found.model.checkpoint == tmp_path / "models/base.safetensors"


def test_a_secret_is_not_shown() -> None:
    report = kohya.translate(FILES / "flat.toml").report
    assert "wandb_api_key = (hidden)" in str(report)
    assert "not-a-key" not in str(report)


def test_datasets_take_the_innermost_setting(tmp_path: Path) -> None:
    found, _ = kohya.load_any(FILES / "with_dataset.toml", tmp_path)
    subject, reg, large = found.data.subsets
    assert [subset.folder for subset in found.data.subsets] == [
        tmp_path / "pictures" / name for name in ("subject", "class", "large")
    ]
    assert (subject.repeats, subject.class_tokens, subject.resolution) == (10, "sks cat", (512, 512))
    assert (reg.regularisation, reg.captions.keep_tokens, subject.captions.keep_tokens) == (True, 1, 2)
    assert (large.resolution, large.augment.flip, subject.augment.flip) == ((768, 512), True, False)
    assert all(subset.captions.dropout == 0.1 and subset.captions.shuffle for subset in found.data.subsets)
    assert all(subset.captions.extensions == (".txt",) for subset in found.data.subsets)
    assert (found.train.batch_size, found.data.buckets.enabled, found.data.folder) == (4, True, None)


def test_the_settings_window_of_lora_scripts(tmp_path: Path) -> None:
    found = settings("window.toml", tmp_path)
    assert found["model"]["family"] == "sdxl"
    assert found["network"] == {
        "kind": "locon",
        "rank": 32,
        "alpha": 32.0,
        "conv_rank": 4,
        "conv_alpha": 1.0,
        "text_encoder": True,
        "dropout": 0.1,
        "module_dropout": 0.2,
    }
    assert found["optimizer"]["args"] == {"weight_decay": 0.1, "d_coef": 2}
    assert found["sample"]["prompts"] == ("1girl --n lowres --w 512 --d 5",)


def test_train_sh(tmp_path: Path) -> None:
    found, report = kohya.load_any(FILES / "train.sh")
    assert report is not None
    assert found.model.checkpoint == FILES / "models/base.safetensors"
    assert (found.model.family, found.model.clip_skip, found.model.max_token_length) == ("auto", 1, 225)
    assert found.data.resolution == (512, 768)
    assert (found.network.rank, found.network.alpha, found.network.text_encoder) == (32, 16.0, False)
    assert (found.objective.noise_offset, found.objective.min_snr_gamma) == (0.1, 5.0)
    assert (found.optimizer.kind, found.optimizer.args) == ("DAdaptation", {"decouple": True})
    assert (found.train.epochs, found.train.batch_size, found.train.seed) == (12, 2, 1337)
    assert found.train.precision == found.save.precision == "fp16"
    assert found.data.captions.shuffle
    text = str(report)
    assert "clip_skip = '2': is set, but the script passes it to no option" in text
    assert "--lowram = True: where tensors live follows from train.device" in text, "[[ 0 ]] is true in bash"
    assert "conv_dim = '4': is set, but the script passes it to no option" in text
    assert "Only decide which options the script passes:" in text


def test_train_sh_with_lycoris(tmp_path: Path) -> None:
    script = tmp_path / "train.sh"
    text = (FILES / "train.sh").read_text()
    script.write_text(text.replace('"networks.lora"', '"lycoris.kohya"').replace('algo="lora"', 'algo="loha"'))
    found, _ = kohya.load_any(script)
    assert (found.network.kind, found.network.conv_rank, found.network.conv_alpha) == ("loha", 4, 4.0)


def test_the_script_is_never_run(tmp_path: Path) -> None:
    script = tmp_path / "train.sh"
    mark = tmp_path / "ran"
    script.write_text((FILES / "train.sh").read_text() + f"\ntouch {mark}\n")
    kohya.load_any(script)
    assert not mark.exists()


def test_a_preset_is_listed_but_cannot_train() -> None:
    translation = kohya.translate(FILES / "preset.toml")
    assert translation.preset
    assert translation.settings["data"] == {"resolution": "768,768", "buckets": {"enabled": True, "no_upscale": True}}
    assert {entry.key for entry in translation.report.not_honoured} == {
        f"metadata.{key}" for key in ("name", "version", "author", "train_type", "description")
    }


def test_every_option_of_sd_scripts_is_known() -> None:
    names = set((FILES / "option_names.txt").read_text().split())
    assert len(names) > 200
    assert names <= KNOWN


def test_it_reads_without_torch() -> None:
    program = "import sys; import training.kohya; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=TREE).returncode == 0


def test_the_report_says_what_the_run_does(tmp_path: Path) -> None:
    _, report = kohya.load_any(FILES / "with_dataset.toml", tmp_path)
    said = str(report)
    assert "dataset_config = 'dataset.toml' -> data.subsets = 3 table(s) [[data.subsets]]" in said
    assert "general.keep_tokens = 2 -> data.subsets.captions.keep_tokens = 2 or 1" in said
    assert "datasets.0.subsets.1.is_reg = True -> data.subsets.1.regularisation = True" in said
    file = tmp_path / "preset.toml"
    file.write_text(
        'pretrained_model_name_or_path = "x"\ntrain_data_dir = "y"\nresolution = "512,640"\nv2 = false\n'
        'network_module = "lycoris.kohya"\nnetwork_args = ["algo=lora", "preset=attn-mlp"]\n'
    )
    config, report = kohya.load_any(file, tmp_path)
    assert config.network.conv is None
    said = str(report)
    assert "network_args: preset = 'attn-mlp' -> network.conv_rank = not set" in said
    assert "v2 = False -> model.family = 'auto'" in said
    assert "resolution = '512,640' -> data.resolution = (512, 640)" in said


def test_the_written_config_says_where_each_setting_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "wide.toml"
    file.write_text(
        'pretrained_model_name_or_path = "x"\ntrain_data_dir = "y"\nresolution = 512\nlogging_dir = "logs"\n'
        'network_module = "lycoris.kohya"\nnetwork_dim = 12\npositive_prompts = "a cat"\nsample_seed = 3\n'
    )
    text = kohya.convert(file, tmp_path, lambda said: None)
    for line in (
        "# Converted from wide.toml.",
        "steps = 1600 # sd-scripts' default",
        "conv_rank = 12 # network_dim",
        "conv_alpha = 1.0 # sd-scripts' default",
        "tensorboard = true # logging_dir",
        'prompts = ["a cat --d 3"] # positive_prompts',
    ):
        assert line in text.splitlines()
    written = kohya.convert(FILES / "with_dataset.toml", FILES, lambda said: None).splitlines()
    assert written.count("dropout = 0.1 # caption_dropout_rate") == 4, "of [data], and of the three subsets"
