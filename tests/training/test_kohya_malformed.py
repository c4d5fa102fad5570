"""Broken kohya configs: one sentence each, naming the file's own key."""

from pathlib import Path

import pytest

from training import kohya
from training.errors import InputError

FILES = Path(__file__).parent / "kohya_files"
SOUND = """
pretrained_model_name_or_path = "base.safetensors"
train_data_dir = "pictures"
resolution = 512
max_train_epochs = 1
seed = 1
"""
DATASETS = """
pretrained_model_name_or_path = "base.safetensors"
resolution = 512
max_train_epochs = 1
seed = 1
"""

TOML = {
    "no table ends": ("[training", "is not valid TOML: Expected ']' at the end of a table declaration (at end of"),
    "no model": (
        'train_data_dir = "x"\nresolution = 512',
        "pretrained_model_name_or_path: is required: the base model",
    ),
    "no pictures": (
        'pretrained_model_name_or_path = "x"\nresolution = 512',
        "train_data_dir: is required: the folder that holds folders N_name",
    ),
    "no resolution": (
        'pretrained_model_name_or_path = "x"\ntrain_data_dir = "x"',
        'resolution: is required, like "512,512"',
    ),
    "typo": (SOUND + "netwrok_dim = 4", "netwrok_dim: unknown key (did you mean network_dim?)"),
    "a key of datasets": (
        SOUND + "batch_size = 2",
        "batch_size: is a key of [general], [[datasets]] or their subsets; ",
    ),
    "a key of subsets": (SOUND + "num_repeats = 2", "num_repeats: is a key of [general], [[datasets]] or their subs"),
    "two optimisers": (
        SOUND + "use_8bit_adam = true\nuse_lion_optimizer = true",
        "use_lion_optimizer: is Lion, but use_8bit_adam chooses another optimiser",
    ),
    "an optimiser and a switch for another": (
        SOUND + 'optimizer_type = "Prodigy"\nuse_8bit_adam = true',
        "use_8bit_adam: is AdamW8bit, but optimizer_type chooses another optimiser",
    ),
    "typo in a section": (SOUND + "[x]\nlearning_rat = 4", "learning_rat: unknown key (did you mean learning_rate?)"),
    "resolution of words": (
        SOUND.replace("512", '"big"'),
        "resolution (data.resolution): must be a number, \"width,height\" or [width, height] (is 'big')",
    ),
    "rank 0": (
        SOUND + "network_dim = 0",
        "network_dim (network.rank): input should be greater than or equal to 1 (is 0)",
    ),
    "rank of text": (SOUND + 'network_dim = "many"', "network_dim: must be a number (is 'many')"),
    "half a rank": (SOUND + "network_dim = 4.5", "network_dim: must be a whole number (is 4.5)"),
    "unknown optimiser": (
        SOUND + 'optimizer_type = "AdamV"',
        "optimizer_type: no optimiser 'AdamV' here (did you mean AdamW?) (is 'AdamV')",
    ),
    "unknown schedule": (
        SOUND + 'lr_scheduler = "cosin"',
        "lr_scheduler: no schedule 'cosin' here (did you mean cosine?) (is 'cosin')",
    ),
    "unknown precision": (SOUND + 'mixed_precision = "int8"', "mixed_precision: no precision 'int8' here; known are"),
    "full without mixed": (SOUND + "full_fp16 = true", 'full_fp16: needs mixed_precision = "fp16"'),
    "network of Flux": (
        SOUND + 'network_module = "networks.lora_flux"',
        "network_module: networks.lora_flux is not supported; networks here are networks.lora, lycoris.kohya",
    ),
    "algorithm": (
        SOUND + 'network_module = "lycoris.kohya"\nnetwork_args = ["algo=ia3"]',
        "network_args: algo: ia3 is not supported; here are lora, locon, loha, lokr",
    ),
    "argument without =": (
        SOUND + 'network_args = ["conv_dim"]',
        "network_args: must be a list of \"name=value\" (one item is 'conv_dim')",
    ),
    "unknown argument": (
        SOUND + 'network_args = ["conv_dims=4"]',
        "network_args: conv_dims: unknown argument (did you mean conv_dim?)",
    ),
    **{
        f"{key} = {value}": (SOUND + f"{key} = {value}", f"{key}: {sentence}")
        for key, value, sentence in (
            ("network_dim", "true", "must be a number (is true)"),
            ("network_alpha", "false", "must be a number (is false)"),
            ("learning_rate", "true", "must be a number (is true)"),
            ("train_batch_size", "true", "must be a number (is true)"),
            ("clip_skip", "false", "must be a number (is false)"),
            ("network_dim", '"1e3"', "must be a whole number (is '1e3')"),
            ("network_dim", '"16.0"', "must be a whole number (is '16.0')"),
            ("network_dim", '"0x10"', "must be a number (is '0x10')"),
            ("lr_warmup_steps", '"1.5"', "must be a whole number (is '1.5')"),
            ("shuffle_caption", '"false"', "must be true or false without quotes; sd-scripts takes any text for true"),
            ("shuffle_caption", "2", "must be true or false (is 2)"),
        )
    },
    **{
        f"the training file's {key} in a dataset": (
            DATASETS + f'[[datasets]]\n{key} = 1\n[[datasets.subsets]]\nimage_dir = "x"',
            f"datasets.0.{key}: is a key of the training file; sd-scripts refuses it here",
        )
        for key in ("prior_loss_weight", "train_data_dir", "max_train_steps", "network_module", "sample_prompts")
    },
    "a subset's repeats of true": (
        DATASETS + '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "x"\nnum_repeats = true',
        "datasets.0.subsets.0.num_repeats (data.subsets.0.repeats): must be a whole number (is true)",
    ),
    "a subset's repeats as text": (
        DATASETS + '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "x"\nnum_repeats = "3"',
        "datasets.0.subsets.0.num_repeats (data.subsets.0.repeats): must be a whole number (is '3')",
    ),
    "a resolution of true": (SOUND.replace("512", "true"), 'must be a number, "width,height" or [width, height]'),
    **{
        f"an argument of {value}": (
            SOUND + f'network_args = ["conv_dim={value}"]',
            f"network_args: conv_dim: must be a number (is {str(value).lower()})",
        )
        for value in (True, False)
    },
    "flag of words": (SOUND + 'xformers = "maybe"', "xformers: must be true or false (is 'maybe')"),
    "a rate of words": (SOUND + 'text_encoder_lr = [1e-4, "fast"]', "text_encoder_lr: must be a number"),
    "token length": (
        SOUND + "max_token_length = 300",
        "max_token_length: is too long; captions of up to 225 tokens can be read (is 300)",
    ),
    "negative rate": (
        SOUND + "learning_rate = -1.0",
        "learning_rate (optimizer.learning_rate): input should be greater than 0 (is -1.0)",
    ),
    "dropout of 3": (
        SOUND + "caption_dropout_rate = 3",
        "caption_dropout_rate (data.captions.dropout): input should be less than or equal to 1 (is 3)",
    ),
    "a number beyond all numbers": (
        SOUND + f"enable_bucket = true\nbucket_reso_steps = 1{'0' * 400}",
        "bucket_reso_steps: must be a number (is 1000",
    ),
    "tables in tables": (SOUND + "[a.b]\nseed = 1", "a.b: tables in tables are not kohya's format"),
    "family": (SOUND + 'model_type = "flux"', "model_type: flux: is not supported; families here are SD 1.5, SD 2 and"),
    "sample prompts": (
        SOUND + 'sample_prompts = "prompts.toml"',
        "sample_prompts: prompts are read from a text file, one a line (is 'prompts.toml')",
    ),
    "dataset without folder": (
        DATASETS + "[[datasets]]\n[[datasets.subsets]]\nnum_repeats = 2",
        "datasets.0.subsets.0: image_dir is required",
    ),
    "dataset without subsets": (
        DATASETS + "[[datasets]]\nbatch_size = 1",
        "datasets.0: needs tables [[datasets.subsets]]",
    ),
    "typo in a subset": (
        DATASETS + '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "x"\nnum_repeat = 2',
        "datasets.0.subsets.0.num_repeat: unknown key (did you mean num_repeats?)",
    ),
    "batch sizes differ": (
        DATASETS
        + '[[datasets]]\nbatch_size = 1\n[[datasets.subsets]]\nimage_dir = "x"\n'
        + '[[datasets]]\nbatch_size = 2\n[[datasets.subsets]]\nimage_dir = "y"',
        "datasets: batch_size must be the same for all here",
    ),
    "only datasets": (
        '[general]\nresolution = 512\n[[datasets]]\n[[datasets.subsets]]\nimage_dir = "x"',
        "pretrained_model_name_or_path: is required: the base model; a dataset file is named by dataset_config in a",
    ),
    "missing dataset file": (DATASETS + 'dataset_config = "nowhere.toml"', ": dataset_config: "),
}


@pytest.mark.parametrize(("text", "sentence"), TOML.values(), ids=TOML.keys())
def test_toml(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "kohya.toml"
    file.write_text(text)
    with pytest.raises(InputError) as raised:
        kohya.load_any(file, tmp_path)
    assert len(raised.value.problems) == 1, raised.value.problems
    problem = raised.value.problems[0]
    assert problem.startswith(str(tmp_path))
    assert sentence in problem
    assert "\n" not in problem


SCRIPT = (FILES / "train.sh").read_text()
SCRIPTS = {
    "no command": (
        SCRIPT[: SCRIPT.index("accelerate launch")],
        "no launch command of train_network.py or sdxl_train_network.py is in it",
    ),
    "typo": (
        SCRIPT.replace("network_weights=", "network_weigths="),
        "network_weigths: is set, but the script passes it to no option (did you mean network_weights?)",
    ),
    "computed": (
        SCRIPT.replace("network_dim=32", "network_dim=$(nproc)"),
        "line 12: $(nproc) is computed by the shell; write its value into the script",
    ),
    "open quote": (SCRIPT.replace("lr='1e-4'", "lr='1e-4"), "line 28: no closing '"),
    "flux": (
        SCRIPT.replace("sd1.5", "flux"),
        "flux_train_network.py is not supported; read are train_network.py and sdxl_train_network.py",
    ),
    "rank of text": (SCRIPT.replace("network_dim=32", "network_dim=lots"), "network_dim: must be a number (is 'lots')"),
    "negative alpha": (
        SCRIPT.replace("network_alpha=16", "network_alpha=-1"),
        "network_alpha (network.alpha): input should be greater than 0 (is -1)",
    ),
}


@pytest.mark.parametrize(("text", "sentence"), SCRIPTS.values(), ids=SCRIPTS.keys())
def test_script(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "train.sh"
    file.write_text(text)
    with pytest.raises(InputError) as raised:
        kohya.load_any(file)
    assert len(raised.value.problems) == 1, raised.value.problems
    assert sentence in raised.value.problems[0]


def test_at_least_twenty_malformed_configs_are_tried() -> None:
    print(f"{len(TOML)} malformed TOML files and {len(SCRIPTS)} scripts")
    assert len(TOML) + len(SCRIPTS) >= 20


def test_every_problem_is_found_at_once(tmp_path: Path) -> None:
    file = tmp_path / "kohya.toml"
    file.write_text(SOUND + 'netwrok_dim = 4\noptimizer_type = "x"\nnetwork_alpha = "y"')
    with pytest.raises(InputError) as raised:
        kohya.load_any(file)
    assert len(raised.value.problems) == 3


@pytest.mark.parametrize(
    ("name", "sentence"), [("\\u0000", "no file can have this name"), ("x" * 300, "cannot be read: File name too long")]
)
def test_a_name_that_no_file_can_have_is_told(tmp_path: Path, name: str, sentence: str) -> None:
    file = tmp_path / "kohya.toml"
    file.write_text(DATASETS + f'dataset_config = "{name}"')
    with pytest.raises(InputError, match=sentence):
        kohya.load_any(file, tmp_path)
