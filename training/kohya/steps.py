"""The keys that only make sense together: base model, arithmetic, length, optimiser arguments, sample pictures."""

import os
from pathlib import Path
from typing import Any

from training.kohya import values
from training.kohya.reading import DEFAULT, Reading
from training.kohya.unhonoured import REASONS

MODEL_TYPES = {
    "sd1.5": "sd1",
    "sd2.0": "sd2",
    "sdxl": "sdxl",
    "sd-lora": None,
    "lora-basic": None,
    "lora-master": None,
    "sdxl-lora": "sdxl",
}
"""What lora-scripts calls the families; its sd-lora is both SD 1.5 and SD 2, told apart by v2."""

UNSUPPORTED = "is not supported; families here are SD 1.5, SD 2 and SDXL"
DEFAULT_STEPS = 1600
DEFAULT_SEED = 42


KEY = "lr_restart_cycles"


_BUCKETS = ("min_bucket_reso", "max_bucket_reso", "bucket_reso_steps", "bucket_no_upscale")
UNUSED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "multires_noise_discount": ("multires_noise_iterations", (), ""),
    "huber_c": ("loss_type", ("huber", "smooth_l1"), "l2"),
    "huber_schedule": ("loss_type", ("huber", "smooth_l1"), "l2"),
    "huber_scale": ("loss_type", ("huber", "smooth_l1"), "l2"),
    "lr_scheduler_power": ("lr_scheduler", ("polynomial",), "constant"),
    "lr_decay_steps": ("lr_scheduler", ("warmup_stable_decay",), "constant"),
    "lr_scheduler_min_lr_ratio": ("lr_scheduler", ("warmup_stable_decay", "cosine_with_min_lr"), "constant"),
    "noise_offset_random_strength": ("noise_offset", (), ""),
    "adaptive_noise_scale": ("noise_offset", (), ""),
    "ip_noise_gamma_random_strength": ("ip_noise_gamma", (), ""),
}
"""Keys that count only beside another: its name, the values that make them count (none: any that is not off), and
what sd-scripts takes where it is missing."""


def unused(reading: Reading) -> None:
    """Drop the keys that sd-scripts reads but does not use, because of what another key says."""
    if reading.preset:
        return
    for key, (other, counting, default) in UNUSED.items():
        value = reading.get(other, default)
        if reading.has(key) and (values.is_off(value) or (counting and str(value) not in counting)):
            reading.drop(key, f"has no effect: {other} is {value}" if value != "" else f"has no effect without {other}")
    buckets = reading.get("enable_bucket", False)
    if not reading.has("dataset_config") and values.is_off(buckets):
        for key in _BUCKETS:
            if reading.has(key):
                reading.drop(key, "has no effect without enable_bucket")


def rates(reading: Reading) -> None:
    """Take rates of 0: sd-scripts does not train what has one."""
    general = reading.sound("learning_rate", values.rate)
    for key, path in (("unet_lr", "network.unet"), ("text_encoder_lr", "network.text_encoder")):
        own = reading.sound(key, values.rate)
        if (general if own is None else own) != 0:
            continue
        name = reading.given[key if own is not None else "learning_rate"].name
        reading.take(key)
        reading.entry(name, 0, path, False)
        reading.report.notes.append(f"{name} is 0, so sd-scripts does not train this part: {path} = false")
    several = reading.get("text_encoder_lr")
    if isinstance(several, list) and len({str(item) for item in several}) > 1:
        reading.report.notes.append(
            f"text_encoder_lr = {several}: with these networks sd-scripts takes the first rate for all text encoders"
        )
    if general == 0 and reading.has("learning_rate"):
        reading.drop("learning_rate", "is 0; the rates of UNet and text encoder count")


def base_model(reading: Reading) -> None:
    """Take v2, model_type and model_train_type: the family, where the file tells it."""
    length = reading.get("max_token_length")
    made = reading.sound("max_token_length", values.token_length)
    if made is not None and str(made) != str(length):
        reading.report.notes.append(f"max_token_length = {length}: sd-scripts makes pieces of 75 of it, {made} in all")
    for key in ("model_type", "model_train_type"):
        if reading.has(key):
            name = str(reading.get(key))
            if name in MODEL_TYPES:
                reading.honour(key, "model.family", MODEL_TYPES[name])
            elif reading.preset:
                reading.drop(key, UNSUPPORTED)
            else:
                reading.refuse(key, f"{name}: {UNSUPPORTED}")
    if reading.has("tokenizer_cache_dir"):
        _tokenizer(reading)
    sdxl = any(MODEL_TYPES.get(str(reading.get(key))) == "sdxl" for key in ("model_type", "model_train_type"))
    if sdxl and reading.has("clip_skip"):
        reading.drop("clip_skip", "sd-scripts does not use it for SDXL, which always takes the last layer but one")
    if reading.has("v2"):
        reading.honour("v2", "model.family", "sd2" if reading.value("v2", values.flag) else None)


def _tokenizer(reading: Reading) -> None:
    """Take tokenizer_cache_dir: sd-scripts keeps each tokenizer in a folder named after its model."""
    key = "tokenizer_cache_dir"
    given = reading.get(key)
    if values.is_off(given):
        reading.honour(key, "model.tokenizer", None)
        return
    folder = Path(reading.absolute(key, given)) / "openai_clip-vit-large-patch14"
    # os.path, as a name that no file can have is answered too.
    if os.path.isdir(folder):  # noqa: PTH112
        reading.honour(key, "model.tokenizer", str(folder))
    else:
        reading.drop(key, f"{folder} does not exist; CLIP's tokenizer is looked for in the Hugging Face cache")


def arithmetic(reading: Reading) -> None:
    """Take the kinds of attention, of which kohya uses the first that is on, and full_fp16 / full_bf16."""
    chosen = None
    for key, name in (("mem_eff_attn", "sdpa"), ("xformers", "xformers"), ("sdpa", "sdpa")):
        if not reading.has(key):
            continue
        on = reading.value(key, values.flag)
        if on and chosen:
            reading.drop(key, f"{chosen} is on too and comes first")
            continue
        reading.honour(key, "train.attention", name if on else None)
        chosen = key if on else chosen
    for key, precision in (("full_fp16", "fp16"), ("full_bf16", "bf16")):
        if not reading.has(key):
            continue
        on = reading.value(key, values.flag)
        if on and values.precision(reading.get("mixed_precision", "no")) != precision:
            reading.refuse(key, f'needs mixed_precision = "{precision}"')
        elif on and precision == "fp16":
            reading.drop(key, "the trained weights stay in fp32, as fp16 loses small steps; it costs little memory")
        else:
            reading.honour(key, "train.full_precision", False if on else None)


def length(reading: Reading) -> None:
    """Take max_train_steps and save_last_n_steps; epochs come before steps."""
    epochs = not values.is_off(reading.get("max_train_epochs"))
    if reading.has("max_train_steps"):
        if epochs:
            reading.drop("max_train_steps", "max_train_epochs is given and comes first")
        else:
            reading.honour("max_train_steps", "train.steps", reading.value("max_train_steps", values.whole))
    elif not epochs and not reading.preset:
        reading.set("train.steps", DEFAULT_STEPS, DEFAULT)
        reading.report.notes.append(f"the file gives no length; kohya's default is {DEFAULT_STEPS} steps")
    if reading.has("save_last_n_steps"):
        every = reading.get("save_every_n_steps")
        if values.is_off(every) or values.is_off(reading.get("save_last_n_steps")):
            reading.drop("save_last_n_steps", "counts for save_every_n_steps, which is not given")
        else:
            keep = reading.value("save_last_n_steps", values.whole) // values.whole(every) + 1
            reading.honour("save_last_n_steps", "save.keep", keep)
    if reading.get("seed") is None and not reading.preset:
        reading.set("train.seed", DEFAULT_SEED)
        reading.report.notes.append(f"the file gives no seed; kohya draws one, here it is {DEFAULT_SEED}")


def optimizer(reading: Reading) -> None:
    """Take optimizer_args, the older switches for an optimiser, and lora-scripts' fields for Prodigy."""
    if reading.get("lr_restart_cycles", 1) not in (1, "1") and reading.given["lr_restart_cycles"].name == KEY:
        reading.report.notes.append(f"today's sd-scripts silently ignore {KEY}; it is read as lr_scheduler_num_cycles")
    for key, name in (("use_8bit_adam", "AdamW8bit"), ("use_lion_optimizer", "Lion")):
        if reading.has(key):
            reading.honour(key, "optimizer.kind", name if reading.value(key, values.flag) else None)
    arguments: dict[str, Any] = {}
    for key in ("optimizer_args", "optimizer_args_custom"):
        if reading.has(key):
            found = reading.value(key, lambda v: values.arguments(v or []))
            arguments |= found
            reading.honour(key, "optimizer.args", dict(found) or None)
    for key, name in (("prodigy_d0", "d0"), ("prodigy_d_coef", "d_coef")):
        if reading.has(key) and not values.is_off(reading.get(key)):
            arguments[name] = reading.value(key, values.number)
            reading.honour(key, f"optimizer.args.{name}", arguments[name])
        elif reading.has(key):
            reading.honour(key, f"optimizer.args.{name}", None)
    if reading.sound("optimizer_type", values.optimizer) == "Adafactor" and not reading.preset:
        arguments = _adafactor(reading, arguments)
    if arguments:
        reading.set("optimizer.args", arguments)


def _adafactor(reading: Reading, given: dict[str, Any]) -> dict[str, Any]:
    """All arguments of Adafactor as sd-scripts completes them; with relative_step it goes by no learning rate."""
    found = {"scale_parameter": True, "relative_step": True, "warmup_init": False} | given
    if found["warmup_init"] and not found["relative_step"]:
        found["relative_step"] = True
        reading.report.notes.append("warmup_init is on, so sd-scripts sets relative_step to True")
    if found["relative_step"]:
        for key in ("learning_rate", "unet_lr", "text_encoder_lr", "lr_scheduler", "lr_warmup_steps"):
            if reading.has(key):
                reading.drop(key, "Adafactor with relative_step finds its own steps; sd-scripts does not use it either")
    return found


def samples(reading: Reading) -> None:
    """Take the sample pictures: a prompt file, one prompt, or the fields of lora-scripts' settings window."""
    window = _window_prompt(reading)
    prompts = reading.get("prompt_file") or reading.get("sample_prompts")
    for key in ("prompt_file", "sample_prompts"):
        if reading.has(key):
            _prompts(reading, key)
    if window and not prompts:
        reading.set("sample.prompts", [window], reading.given["positive_prompts"].name)
    drawn = bool(window or prompts) and values.flag(reading.get("enable_preview", True))
    if reading.has("enable_preview"):
        reading.honour("enable_preview", "sample", None)
    for key, path, convert in (
        ("sample_every_n_epochs", "sample.every_epochs", values.count),
        ("sample_every_n_steps", "sample.every_steps", values.count),
        ("sample_at_first", "sample.at_first", values.flag),
    ):
        if reading.has(key) and drawn:
            reading.honour(key, path, reading.value(key, convert))
        elif reading.has(key):
            reading.drop(key, "there is no sample_prompts, so kohya draws nothing either")


def logs(reading: Reading) -> None:
    """Take log_with and logging_dir: kohya writes TensorBoard's files if a folder is given."""
    folder = bool(reading.get("logging_dir"))
    wanted = str(reading.get("log_with") or ("tensorboard" if folder else ""))
    if reading.has("logging_dir"):
        reading.drop("logging_dir", "logs stand in the run folder")
    if reading.has("log_with"):
        if wanted == "wandb":
            reading.drop("log_with", REASONS["wandb_api_key"])
        else:
            reading.honour("log_with", "log.tensorboard", wanted in ("tensorboard", "all") or None)
    elif wanted:
        reading.set("log.tensorboard", True, reading.given["logging_dir"].name)


def _prompts(reading: Reading, key: str) -> None:
    """A prompt file, or the prompt itself, which lora-scripts also takes."""
    given = reading.get(key)
    if isinstance(given, list):
        reading.honour(key, "sample.prompts", [str(prompt) for prompt in given])
        return
    value = str(given or "")
    if not value:
        reading.honour(key, "sample.prompts", None)
    elif " --" in value or "," in value:
        reading.honour(key, "sample.prompts", [value])
    elif Path(value).suffix in (".json", ".toml"):
        reading.refuse(key, f"prompts are read from a text file, one a line (is {value!r})")
    else:
        reading.honour(key, "sample.prompts_file", reading.absolute(key, value))


def _window_prompt(reading: Reading) -> str | None:
    """The prompt in kohya's syntax that the settings window describes, None if it describes none."""
    fields = {
        "negative_prompts": "--n",
        "sample_width": "--w",
        "sample_height": "--h",
        "sample_cfg": "--l",
        "sample_steps": "--s",
        "sample_seed": "--d",
    }
    prompt = str(reading.get("positive_prompts") or "")
    parts = [prompt]
    for key, option in fields.items():
        value = reading.get(key)
        if value not in (None, ""):
            parts.append(f"{option} {value}")
    text = " ".join(parts) if prompt else None
    for key in (*fields, "positive_prompts"):  # the last is named beside the prompt
        if reading.has(key) and text:
            reading.honour(key, "sample.prompts", [text])
        elif reading.has(key):
            reading.drop(key, "there is no prompt to draw (positive_prompts)")
    return text
