"""Options that sd-scripts takes in more than one form, and where each line of a converted file says it comes from."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from training import config, kohya
from training.errors import InputError
from training.kohya import options

LAUNCH = "accelerate launch train_network.py --pretrained_model_name_or_path=b.safetensors --train_data_dir=p --seed=1"
SOUND: dict[str, Any] = {
    "pretrained_model_name_or_path": "base.safetensors",
    "train_data_dir": "pictures",
    "resolution": 512,
    "max_train_steps": 10,
    "seed": 1,
}


def by_script(folder: Path, line: str) -> tuple[config.Config, str]:
    script = folder / "train.sh"
    script.write_text(line + "\n")
    found, report = kohya.load_any(script)
    return found, str(report)


def by_toml(folder: Path, values: dict[str, Any]) -> tuple[config.Config, str]:
    file = folder / "kohya.toml"
    file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    found, report = kohya.load_any(file, folder)
    return found, str(report)


def test_options_may_be_cut_short_as_argparse_allows(tmp_path: Path) -> None:
    found, report = by_script(tmp_path, f"{LAUNCH} --resol 512 --learn 1e-3 --max_train_ep=4 --shuf --network_di 8")
    assert (found.optimizer.learning_rate, found.train.epochs, found.network.rank) == (1e-3, 4, 8)
    assert found.data.captions.shuffle
    assert "--learning_rate = '1e-3' -> optimizer.learning_rate" in report


def test_a_cut_that_fits_several_options_names_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 1: --caption_dro could be --caption_dropout_every_n_epochs, --caption"):
        by_script(tmp_path, f"{LAUNCH} --resolution 512 --caption_dro 0.1")


def test_an_option_stands_in_one_table() -> None:
    assert not options.LISTS & options.FLAGS and not (options.LISTS | options.FLAGS) & options.VALUED


def test_a_gpu_chosen_for_the_command_is_named_with_what_to_do(tmp_path: Path) -> None:
    for line in (
        f"CUDA_VISIBLE_DEVICES=1 {LAUNCH}",
        f"env CUDA_VISIBLE_DEVICES=1 {LAUNCH}",
        f"export CUDA_VISIBLE_DEVICES=1\n{LAUNCH}",
    ):
        _, report = by_script(tmp_path, f"{line} --resolution 512")
        assert "CUDA_VISIBLE_DEVICES = '1': chooses the GPU; set it for lora-train itself" in report
        assert "CUDA_VISIBLE_DEVICES=1 lora-train run" in report


def test_of_several_text_encoder_rates_the_first_counts_as_in_sd_scripts(tmp_path: Path) -> None:
    found, report = by_toml(tmp_path, SOUND | {"text_encoder_lr": [1e-4, 5e-5]})
    assert found.optimizer.text_encoder_learning_rate == 1e-4
    assert "sd-scripts takes the first rate for all text encoders" in report
    assert "first rate" not in by_toml(tmp_path, SOUND | {"text_encoder_lr": [1e-4, 1e-4]})[1]


def test_adafactors_schedule_may_carry_a_rate(tmp_path: Path) -> None:
    args = {"optimizer_type": "Adafactor", "optimizer_args": ["relative_step=False"], "lr_scheduler": "adafactor:1e-4"}
    assert by_toml(tmp_path, SOUND | args)[0].schedule.kind == "adafactor"
    with pytest.raises(InputError, match="lr_scheduler: must be a number"):
        by_toml(tmp_path, SOUND | args | {"lr_scheduler": "adafactor:fast"})


def test_schedules_with_a_fall_at_the_end(tmp_path: Path) -> None:
    given = {"lr_scheduler": "warmup_stable_decay", "lr_decay_steps": 0.2, "lr_scheduler_min_lr_ratio": 0.1}
    plan = by_toml(tmp_path, SOUND | given)[0].schedule
    assert (plan.kind, plan.decay_steps, plan.min_ratio) == ("warmup_stable_decay", 0.2, 0.1)
    plan = by_toml(tmp_path, SOUND | given | {"lr_scheduler": "cosine_with_min_lr"})[0].schedule
    assert (plan.kind, plan.decay_steps, plan.min_ratio) == ("cosine_with_min_lr", 0, 0.1)
    _, report = by_toml(tmp_path, SOUND | given | {"lr_scheduler": "cosine"})
    assert "lr_decay_steps = 0.2: has no effect: lr_scheduler is cosine" in report


@pytest.mark.parametrize(
    "name", ["PagedAdamW", "PagedAdamW8bit", "PagedAdamW32bit", "PagedLion8bit", "SGDNesterov8bit", "DAdaptAdanIP"]
)
def test_optimisers_of_sd_scripts(tmp_path: Path, name: str) -> None:
    assert by_toml(tmp_path, SOUND | {"optimizer_type": name.lower()})[0].optimizer.kind == name


@pytest.mark.parametrize(("given", "wildcards"), [({}, False), ({"enable_wildcard": True}, True)])
def test_captions_of_several_lines_are_read_as_by_sd_scripts(
    tmp_path: Path, given: dict[str, Any], wildcards: bool
) -> None:
    captions = by_toml(tmp_path, SOUND | given)[0].data.captions
    assert (captions.lines, captions.wildcards) == ("first", wildcards)


def test_a_tokenizer_that_sd_scripts_keeps_is_used(tmp_path: Path) -> None:
    given = SOUND | {"tokenizer_cache_dir": "tokens"}
    found, report = by_toml(tmp_path, given)
    assert found.model.tokenizer is None and "openai_clip-vit-large-patch14 does not exist" in report
    folder = tmp_path / "tokens/openai_clip-vit-large-patch14"
    folder.mkdir(parents=True)
    assert by_toml(tmp_path, given)[0].model.tokenizer == folder


def test_each_line_names_the_key_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "data.toml").write_text(
        "[general]\nflip_aug = true\nnum_repeats = 2\n"
        '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "one"\n[[datasets.subsets]]\nimage_dir="two"\nnum_repeats=9\n'
    )
    given = {key: value for key, value in SOUND.items() if key != "train_data_dir"} | {
        "dataset_config": "data.toml",
        "network_module": "lycoris.kohya",
        "network_args": ["algo=loha"],
        "optimizer_args": ["weight_decay=0.1"],
        "max_train_steps": 10,
    }
    file = tmp_path / "kohya.toml"
    file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items()))
    lines = kohya.convert(file, tmp_path, lambda _: None).splitlines()
    for line in (
        f'folder = "{tmp_path}/one" # datasets.0.subsets.0.image_dir',
        "repeats = 2 # general.num_repeats",
        f'folder = "{tmp_path}/two" # datasets.0.subsets.1.image_dir',
        "repeats = 9 # datasets.0.subsets.1.num_repeats",
        "flip = true # general.flip_aug",
        'kind = "loha" # network_args: algo',
        "[optimizer.args] # optimizer_args",
        "alpha = 1.0 # sd-scripts' default",
        "steps = 10 # max_train_steps",
    ):
        assert line in lines, line


def test_a_problem_in_one_subset_names_its_key(tmp_path: Path) -> None:
    given = {key: value for key, value in SOUND.items() if key != "train_data_dir"} | {"dataset_config": "data.toml"}
    (tmp_path / "data.toml").write_text(
        '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "one"\n[[datasets.subsets]]\nimage_dir="two"\nnum_repeats=-1\n'
    )
    with pytest.raises(InputError, match=r"datasets\.0\.subsets\.1\.num_repeats \(data\.subsets\.1\.repeats\)"):
        by_toml(tmp_path, given)


def test_what_the_window_holds_counts_where_a_file_is_silent(tmp_path: Path) -> None:
    file = tmp_path / "preset.json"
    window = {"LoRA_type": "LyCORIS/LoKr", "train_data_dir": "/p", "epoch": 1}
    file.write_text(json.dumps(window | {"pretrained_model_name_or_path": "/b.safetensors"}))
    found, report = kohya.load_any(file)
    assert (found.name, found.data.resolution, found.network.rank, found.network.conv_rank) == (
        "last",
        (512, 512),
        8,
        1,
    )
    assert (found.data.buckets.enabled, found.data.buckets.max_side, found.data.buckets.no_upscale) == (
        True,
        2048,
        True,
    )
    assert (found.optimizer.unet_learning_rate, found.optimizer.text_encoder_learning_rate) == (1e-4, 1e-4)
    assert (found.schedule.kind, found.schedule.warmup_steps, found.train.precision) == ("cosine", 0.1, "fp16")
    assert found.data.captions.extensions == (".txt",)
    assert "max_bucket_reso (kohya_ss' default) = 2048 -> data.buckets.max_side = 2048" in str(report)
    file.write_text(json.dumps(window | {"pretrained_model_name_or_path": "/b.safetensors", "unet_lr": 0}))
    assert not kohya.load_any(file)[0].network.unet
    file.write_text(json.dumps(window))
    assert "max_side" not in str(kohya.translate(file).settings), "a preset without a model changes only what it names"


def test_check_tells_a_missing_tokenizer_and_how_a_kohya_config_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.run import check

    monkeypatch.setenv("HF_HOME", str(tmp_path / "nowhere"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    (tmp_path / "base/unet").mkdir(parents=True)
    (tmp_path / "base/unet/config.json").write_text("{}")
    Image.new("RGB", (512, 512)).save(_made(tmp_path / "pictures/1_cat") / "a.png")
    found, _ = by_toml(tmp_path, SOUND | {"pretrained_model_name_or_path": "base"})
    with pytest.raises(InputError, match="fetch it once with: hf download openai/clip-vit-large-patch14") as caught:
        check.check_report(found)
    assert "in a kohya config: tokenizer_cache_dir" in str(caught.value)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def test_captions_and_pictures_of_a_script_are_found_beside_it(tmp_path: Path) -> None:
    launch = LAUNCH.replace("--train_data_dir=p", "--train_data_dir ./x")
    found, _ = by_script(tmp_path, f"{launch} --resolution=512 --max_train_steps=1 --caption_extension .txt")
    assert found.data.folder == tmp_path / "x"
    assert found.data.captions.extensions == (".txt",)
