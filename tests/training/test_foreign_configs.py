"""Files of other programs as people bring them: read with the meaning they have there, or named for what they are."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mutations import examples
from training import config, kohya
from training.errors import InputError

SOUND: dict[str, Any] = {
    "pretrained_model_name_or_path": "base.safetensors",
    "train_data_dir": "pictures",
    "resolution": 512,
    "max_train_epochs": 1,
    "seed": 1,
}
LYCORIS = {"network_module": "lycoris.kohya", "network_dim": 16, "network_alpha": 8}
WINDOW = {
    "LoRA_type": "Standard",
    "pretrained_model_name_or_path": "/data/base.safetensors",
    "train_data_dir": "/data/img",
    "max_resolution": "512,768",
    "optimizer": "AdamW",
    "epoch": 4,
    "learning_rate": 1e-4,
    "unet_lr": "1e-4",
    "text_encoder_lr": "5e-05",
    "network_dim": 8,
    "seed": "",
    "lr_warmup": 10,
    "xformers": "sdpa",
    "max_token_length": "75",
    "keep_tokens": "2",
}


def read(folder: Path, values: dict[str, Any]) -> tuple[config.Config, str]:
    """A kohya TOML of plain keys, read; the report as text."""
    file = folder / "kohya.toml"
    file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    found, report = kohya.load_any(file, folder)
    return found, str(report)


def read_json(folder: Path, values: dict[str, Any]) -> tuple[config.Config, str]:
    file = folder / "preset.json"
    file.write_text(json.dumps(values))
    found, report = kohya.load_any(file, folder)
    return found, str(report)


@pytest.mark.parametrize(("length", "read_as"), [(75, 75), (150, 150), (225, 225), (255, 225), (200, 150), (1, 75)])
def test_caption_lengths_become_the_pieces_that_sd_scripts_makes(tmp_path: Path, length: int, read_as: int) -> None:
    found, report = read(tmp_path, SOUND | {"max_token_length": length})
    assert found.model.max_token_length == read_as
    assert (f"pieces of 75 of it, {read_as} in all" in report) == (length != read_as)


@pytest.mark.parametrize(
    ("args", "kind", "conv"),
    [
        (["algo=loha"], "loha", 16),
        (["algo=loha", "conv_dim=0", "conv_alpha=0"], "loha", None),
        (["algo=lora", "conv_dim=0"], "lora", None),
        (["algo=lora"], "locon", 16),
        (["algo=lokr", "preset=attn-mlp", "conv_dim=4"], "lokr", None),
        (["algo=lora", "preset=attn-mlp"], "lora", None),
        (["algo=lokr", "dora_wd=True"], "lokr", 16),
        (["algo=lora", "dora_wd=True", "conv_dim=0"], "dora", None),
    ],
)
def test_what_lycoris_trains_is_what_is_trained(tmp_path: Path, args: list[str], kind: str, conv: int | None) -> None:
    found, _ = read(tmp_path, SOUND | LYCORIS | {"network_args": args})
    assert (found.network.kind, found.network.conv) == (kind, conv)


@pytest.mark.parametrize("kind", ["lokr", "loha"])
def test_dora_with_other_kinds_is_not_called_honoured(tmp_path: Path, kind: str) -> None:
    found, report = read(tmp_path, SOUND | LYCORIS | {"network_args": [f"algo={kind}", "dora_wd=True"]})
    assert found.network.kind == kind
    assert f"dora_wd = True: DoRA is not combined with {kind}" in report.split("Honoured:")[0]


def test_alpha_0_is_the_rank(tmp_path: Path) -> None:
    found, _ = read(tmp_path, SOUND | {"network_dim": 12, "network_alpha": 0})
    assert found.network.alpha == 12
    found, _ = read(tmp_path, SOUND | LYCORIS | {"network_args": ["algo=loha", "conv_dim=4", "conv_alpha=0"]})
    assert found.network.conv_alpha == 4


@pytest.mark.parametrize(
    "off",
    [
        {"multires_noise_iterations": 0, "multires_noise_discount": 0},
        {"loss_type": "l2", "huber_c": 0},
        {"lr_scheduler": "cosine", "lr_scheduler_power": 0},
        {"enable_bucket": False, "bucket_reso_steps": 1, "min_bucket_reso": 0},
        {"clip_skip": 0, "vae_batch_size": 0, "min_snr_gamma": 0, "scale_weight_norms": 0},
    ],
)
def test_values_that_switch_off_are_no_mistake(tmp_path: Path, off: dict[str, Any]) -> None:
    found, _ = read(tmp_path, SOUND | off)
    plain, _ = read(tmp_path, SOUND | {key: off[key] for key in ("lr_scheduler", "loss_type") if key in off})
    assert found == plain


def test_a_rate_of_0_trains_nothing_of_that_part(tmp_path: Path) -> None:
    found, report = read(tmp_path, SOUND | {"learning_rate": 0.0, "unet_lr": 1e-4})
    assert (found.network.unet, found.network.text_encoder) == (True, False)
    assert found.optimizer.unet_learning_rate == 1e-4
    assert "learning_rate is 0, so sd-scripts does not train this part: network.text_encoder = false" in report
    found, _ = read(tmp_path, SOUND | {"unet_lr": 0, "text_encoder_lr": 1e-5})
    assert (found.network.unet, found.network.text_encoder) == (False, True)


def test_dataset_repeats_counts_where_a_subset_is_silent(tmp_path: Path) -> None:
    (tmp_path / "data.toml").write_text(
        '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "a"\n[[datasets.subsets]]\nimage_dir = "b"\nnum_repeats = 3\n'
    )
    values = {key: value for key, value in SOUND.items() if key != "train_data_dir"}
    found, _ = read(tmp_path, values | {"dataset_config": "data.toml", "dataset_repeats": 10})
    assert [subset.repeats for subset in found.data.subsets] == [10, 3]


def test_a_dataset_file_may_be_json(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"datasets": [{"subsets": [{"image_dir": "a", "num_repeats": 2}]}]}')
    values = {key: value for key, value in SOUND.items() if key != "train_data_dir"}
    found, _ = read(tmp_path, values | {"dataset_config": "data.json"})
    assert [subset.repeats for subset in found.data.subsets] == [2]


def test_clip_skip_is_not_used_for_sdxl(tmp_path: Path) -> None:
    found, report = read(tmp_path, SOUND | {"model_train_type": "sdxl-lora", "clip_skip": 2})
    assert found.model.clip_skip == 1
    assert "clip_skip = 2: sd-scripts does not use it for SDXL" in report


@pytest.mark.parametrize("skip", [2, 3])
def test_clip_skip_without_a_family_says_for_which_bases_it_counts(tmp_path: Path, skip: int) -> None:
    found, report = read(tmp_path, SOUND | {"clip_skip": skip})
    assert found.model.clip_skip == skip
    assert "clip_skip: counts for SD 1.5 and SD 2; SDXL always takes the last layer but one, as in kohya" in report
    assert "clip_skip: counts" not in read(tmp_path, SOUND | {"clip_skip": skip, "v2": True})[1]


@pytest.mark.parametrize("skip", [0, 1])
def test_a_clip_skip_of_one_says_nothing(tmp_path: Path, skip: int) -> None:
    assert "clip_skip: counts" not in read(tmp_path, SOUND | {"clip_skip": skip})[1]


@pytest.mark.parametrize("program", ["train_network.py", "sdxl_train_network.py"])
def test_the_program_of_a_script_says_whether_clip_skip_counts(tmp_path: Path, program: str) -> None:
    file = tmp_path / "train.sh"
    options = " ".join(f"--{key}={value}" for key, value in (SOUND | {"clip_skip": 2}).items())
    file.write_text(f"accelerate launch ./sd-scripts/{program} {options}\n")
    found, report = kohya.load_any(file)
    assert "clip_skip: counts" not in str(report)
    if program == "train_network.py":
        assert (found.model.family, found.model.clip_skip) == ("auto", 2)
    else:
        assert "sd-scripts does not use it for SDXL" in str(report)


def test_names_in_any_script(tmp_path: Path) -> None:
    assert read(tmp_path, SOUND | {"output_name": "小猫 v1"})[0].name == "小猫 v1"
    for name, sentence in {
        "a/b": "must not contain /",
        " a": "nor begin or end",
        "a\u202eb": "must not contain",
    }.items():
        with pytest.raises(InputError, match=sentence):
            read(tmp_path, SOUND | {"output_name": name})


def test_paths_of_other_systems_and_of_the_hub(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read(tmp_path, SOUND | {"train_data_dir": "D:\\train\\cat"})
    assert "train_data_dir: 'D:\\\\train\\\\cat' is a Windows path; write its path on this machine" in str(raised.value)
    _, report = read(tmp_path, SOUND | {"pretrained_model_name_or_path": "owner/model"})
    assert "owner/model is read as a path; a model of Hugging Face's hub must be named by its file" in report


def test_settings_saved_by_kohya_ss(tmp_path: Path) -> None:
    found, report = read_json(tmp_path, WINDOW)
    assert (found.data.resolution, found.train.epochs, found.network.rank) == ((512, 768), 4, 8)
    assert (found.optimizer.kind, found.train.attention, found.schedule.warmup_steps) == ("AdamW", "sdpa", 0.1)
    assert (found.optimizer.text_encoder_learning_rate, found.network.text_encoder) == (5e-5, True)
    assert found.data.captions.keep_tokens == 2
    assert "kohya_ss counts epoch into steps from the pictures" in report


def test_settings_that_kohya_ss_saved_as_toml(tmp_path: Path) -> None:
    """Its TOML is sd-scripts' own config file with two keys of the window, which sd-scripts passes over."""
    window = {"epoch": 3, "noise_offset_type": "Original", "noise_offset": 0.05}
    found, report = read(tmp_path, SOUND | window)
    assert (found.train.epochs, found.objective.noise_offset) == (1, 0.05)
    assert "epoch" in report and "noise_offset_type" in report


@pytest.mark.parametrize(
    ("changed", "path", "value"),
    [
        ({"LoRA_type": "LyCORIS/LoKr", "conv_dim": 4, "conv_alpha": 2, "factor": 6}, "network.lokr_factor", 6),
        ({"LoRA_type": "LyCORIS/LoHa", "conv_dim": 4}, "network.kind", "loha"),
        ({"LoRA_type": "Kohya LoCon", "conv_dim": 4, "conv_alpha": 1}, "network.conv_rank", 4),
        ({"conv_dim": 4, "factor": 6}, "network.conv_rank", None),
        ({"text_encoder_lr": 0}, "network.text_encoder", False),
        ({"noise_offset": 0.1, "multires_noise_iterations": 6, "noise_offset_type": "Multires"}, "objective", None),
        ({"noise_offset": "0.1", "noise_offset_type": "Original"}, "objective.noise_offset", 0.1),
        ({"optimizer_args": '"betas=0.9,0.99" "weight_decay=0.1"'}, "optimizer.args", {"betas": (0.9, 0.99)}),
        ({"additional_parameters": "--network_train_unet_only"}, "network.text_encoder", False),
        ({"sdxl": True, "clip_skip": "2"}, "model.family", "sdxl"),
        ({"model_type": "flux", "guidance_scale": 3.5}, "model.family", "auto"),
        ({"lr_scheduler": "cosine_with_restarts", "lr_scheduler_num_cycles": ""}, "schedule.cycles", 1),
        ({"max_resolution": "512,650"}, "data.resolution", (512, 648)),
    ],
)
def test_each_setting_of_the_window(tmp_path: Path, changed: dict[str, Any], path: str, value: Any) -> None:
    found: Any = read_json(tmp_path, WINDOW | changed)[0]
    for name in path.split("."):
        found = getattr(found, name)
    if path == "objective":
        assert (found.noise_offset, found.multires_iterations) == (0, 6)
    elif isinstance(value, dict):
        assert value.items() <= found.items()
    else:
        assert found == value


@pytest.mark.parametrize("on", [True, False])
def test_the_windows_older_switch_for_an_optimiser_does_not_count_beside_its_menu(tmp_path: Path, on: bool) -> None:
    found, report = read_json(tmp_path, WINDOW | {"optimizer": "Prodigy", "use_8bit_adam": on})
    assert found.optimizer.kind == "Prodigy"
    assert "use_8bit_adam" in report and "which reads it only in files without optimizer" in report
    menu = {key: value for key, value in WINDOW.items() if key != "optimizer"}
    found, _ = read_json(tmp_path, menu | {"use_8bit_adam": on})
    assert found.optimizer.kind == ("AdamW8bit" if on else "AdamW")


def test_a_preset_without_a_model_is_listed(tmp_path: Path) -> None:
    file = tmp_path / "preset.json"
    file.write_text(json.dumps({"LoRA_type": "Standard", "network_dim": 8, "unit": 1}))
    translation = kohya.translate(file)
    assert translation.preset and translation.settings["network"]["rank"] == 8
    assert "unit = 1: belongs to kohya_ss' window" in str(translation.report)


def test_sizes_are_cut_to_whole_latents(tmp_path: Path) -> None:
    found, report = read(tmp_path, SOUND | {"resolution": "515, 770"})
    assert found.data.resolution == (512, 768)
    assert "resolution: 515, 770 is cut to multiples of 8, as the VAE does" in report
    (tmp_path / "data.toml").write_text('[[datasets]]\nresolution = 515\n[[datasets.subsets]]\nimage_dir = "p"\n')
    found, report = read(tmp_path, SOUND | {"dataset_config": "data.toml"})
    assert found.data.subsets[0].resolution == (512, 512)
    assert "datasets.0.resolution: 515 is cut" in report


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"enable_bucket": True, "bucket_reso_steps": 1},
            "bucket_reso_steps: must be a multiple of 8; sd-scripts takes multiples of 64, for SDXL of 32 (is 1)",
        ),
        ({"dim_from_weights": True}, "dim_from_weights: needs network_weights, the file whose ranks are taken"),
        ({"resolution": "20"}, "resolution (data.resolution): each side must be a multiple of 8, at least 64"),
        ({"resolution": "a,b"}, 'resolution (data.resolution): must be a number, "width,height" or [width, height]'),
    ],
)
def test_what_sd_scripts_refuses_is_refused_by_its_name(tmp_path: Path, wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        read(tmp_path, SOUND | wrong)
    assert sentence in str(raised.value)


def test_easy_training_scripts(tmp_path: Path) -> None:
    file = tmp_path / "easy.toml"
    file.write_text(
        '[[subsets]]\nnum_repeats = 4\nimage_dir = "/cat"\n'
        '[general_args.args]\npretrained_model_name_or_path = "/b.safetensors"\nmax_train_epochs = 2\nseed = 5\n'
        "[general_args.dataset_args]\nresolution = 768\nbatch_size = 2\n"
        '[optimizer_args.args]\noptimizer_type = "AdamW8bit"\n'
        '[optimizer_args.args.optimizer_args]\nweight_decay = "0.1"\n'
    )
    found, _ = kohya.load_any(file)
    (subset,) = found.data.subsets
    assert (subset.repeats, subset.resolution, found.train.batch_size) == (4, (768, 768), 2)
    assert (found.optimizer.kind, found.optimizer.args) == ("AdamW8bit", {"weight_decay": 0.1})


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("train.ps1", b"$a = 1", "is a PowerShell script; copy its settings into train.sh or a TOML file"),
        ("train.bat", b"set A=1", "is a Windows batch file"),
        ("train.ipynb", b'{"cells": []}', "is a notebook; take the config files that it writes"),
        ("gbk.toml", "# 训练\nseed = 1".encode("gbk"), "is not UTF-8 (perhaps GBK or UTF-16); save it as UTF-8"),
        ("utf16.toml", "seed = 1".encode("utf-16"), "is not UTF-8"),
        ("flux.json", b'{"LoRA_type": "Flux1", "flux1_checkbox": true}', "flux1_checkbox: is not supported; families"),
        ("ia3.json", b'{"LoRA_type": "LyCORIS/iA3"}', "LoRA_type: LyCORIS/iA3 is not supported; known are Standard"),
        (
            "sd3.json",
            b'{"max_resolution": "512"}',
            "has no LoRA_type: it is of kohya_ss' Dreambooth or Finetuning page",
        ),
        (
            "embedding.json",
            b'{"max_resolution": "512", "token_string": "cat"}',
            "has no LoRA_type: it is of kohya_ss' Textual Inversion page, which trains embeddings",
        ),
        ("everydream.json", b'{"data_root": "x", "resume_ckpt": "y"}', "is a config of EveryDream 2, not a training"),
        ("simpletuner.json", b'{"--model_type": "lora"}', "is a config of SimpleTuner, not a training config that is"),
        ("data.json", b'{"datasets": []}', "names a dataset; give the training file whose dataset_config it is"),
        (
            "onetrainer.json",
            b'{"training_method": "LORA", "concepts": []}',
            "is a config of OneTrainer, not a training",
        ),
        ("toolkit.json", b'{"job": "extension", "config": {}}', "is a config of ai-toolkit"),
        ("adapter_config.json", b'{"peft_type": "LORA"}', "is PEFT's description of an adapter"),
        (
            "model_index.json",
            b'{"_class_name": "X"}',
            "is part of a diffusers folder, not a training config; set model.checkpoint to that folder",
        ),
        ("workflow.json", b'{"nodes": [], "last_node_id": 3}', "is a workflow of ComfyUI"),
        (
            "fleet.toml",
            b'[hosts.a]\naddress = "10.0.0.1"',
            "is a fleet file, not a training config; check it with: sdf",
        ),
        (
            "train.sh",
            b"accelerate launch train_network.py --config_file=nowhere.toml",
            "train.sh: --config_file: ",
        ),
        ("list.json", b"[1]", "must hold one JSON object"),
        ("deep.json", b"[" * 100_000, "is nested too deep to be read"),
    ],
)
def test_files_that_are_not_read_are_named(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InputError) as raised:
        kohya.load_any(file)
    assert str(raised.value).startswith(f"{file}: ") and sentence in str(raised.value)


def test_a_byte_order_mark_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "ours.toml"
    file.write_bytes(b'\xef\xbb\xbfname = "cat"\n[model]\ncheckpoint = "b.safetensors"\n[data]\nfolder = "p"\n')
    assert kohya.load_any(file)[0].name == "cat"


def test_a_config_file_named_in_a_script_counts_where_the_script_is_silent(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(
        "".join(f"{key} = {json.dumps(value)}\n" for key, value in (SOUND | {"network_dim": 7}).items())
    )
    script = tmp_path / "train.sh"
    script.write_text('c="./base.toml"\naccelerate launch train_network.py --config_file="$c" --seed=9\n')
    found, report = kohya.load_any(script)
    assert (found.train.seed, found.network.rank) == (9, 7)
    assert "seed: the command line's '9' counts, not base.toml's 1" in str(report)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.text(max_size=4), max_size=3)
)
KEYS = st.one_of(st.sampled_from(sorted({*SOUND, *WINDOW, *LYCORIS, "network_args", "datasets"})), st.text(max_size=6))


@examples(100)
@given(st.dictionaries(KEYS, VALUES, max_size=6), st.booleans())
def test_any_json_is_read_or_refused_in_sentences(tmp_path_factory: Any, changed: dict[str, Any], whole: bool) -> None:
    file = tmp_path_factory.mktemp("json") / "preset.json"
    file.write_text(json.dumps((WINDOW if whole else {}) | changed))
    try:
        kohya.load_any(file)
    except InputError as error:
        assert all(problem.startswith(str(file)) for problem in error.problems)


def test_adafactor_gets_the_arguments_that_sd_scripts_completes(tmp_path: Path) -> None:
    bare, report = read(tmp_path, SOUND | {"optimizer_type": "AdaFactor", "learning_rate": 1e-3})
    assert bare.optimizer.args == {"scale_parameter": True, "relative_step": True, "warmup_init": False}
    assert "learning_rate = 0.001: Adafactor with relative_step finds its own steps" in report
    own = SOUND | {"optimizer_type": "Adafactor", "learning_rate": 1e-3, "optimizer_args": ["relative_step=False"]}
    found, report = read(tmp_path, own)
    assert found.optimizer.args == {"scale_parameter": True, "relative_step": False, "warmup_init": False}
    assert found.optimizer.learning_rate == 1e-3
    found, report = read(tmp_path, own | {"optimizer_args": ["relative_step=False", "warmup_init=True"]})
    assert found.optimizer.args["relative_step"] is True
    assert "warmup_init is on, so sd-scripts sets relative_step to True" in report


@pytest.mark.parametrize(("given", "read_as"), [("10%", 0.1), (" 2.5 %", 0.025), ("0.05", 0.05), (100, 100)])
def test_warm_up_is_a_number_of_steps_a_share_or_a_percentage(tmp_path: Path, given: object, read_as: float) -> None:
    found, _ = read(tmp_path, SOUND | {"lr_warmup_steps": given, "lr_scheduler": "cosine"})
    assert found.schedule.warmup_steps == pytest.approx(read_as)
