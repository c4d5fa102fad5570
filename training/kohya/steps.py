"""The keys that only make sense together: base model, arithmetic, length, optimiser arguments, sample pictures."""

import os
from pathlib import Path
from typing import Any

from training.kohya import values
from training.kohya.conversion import DEFAULT, Conversion
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


def unused(conversion: Conversion) -> None:
    """Drop the keys that sd-scripts reads but does not use, because of what another key says."""
    if conversion.preset:
        return
    for key, (other, counting, default) in UNUSED.items():
        value = conversion.get(other, default)
        if conversion.has(key) and (values.is_off(value) or (counting and str(value) not in counting)):
            conversion.drop(
                key, f"has no effect: {other} is {value}" if value != "" else f"has no effect without {other}"
            )
    buckets = conversion.get("enable_bucket", False)
    if not conversion.has("dataset_config") and values.is_off(buckets):
        for key in _BUCKETS:
            if conversion.has(key):
                conversion.drop(key, "has no effect without enable_bucket")


def rates(conversion: Conversion) -> None:
    """Take rates of 0: sd-scripts does not train what has one."""
    general = conversion.valid_or_none("learning_rate", values.rate)
    for key, path in (("unet_lr", "network.unet"), ("text_encoder_lr", "network.text_encoder")):
        own = conversion.valid_or_none(key, values.rate)
        if (general if own is None else own) != 0:
            continue
        name = conversion.given[key if own is not None else "learning_rate"].name
        conversion.take(key)
        conversion.entry(name, 0, path, False)
        conversion.note(f"{name} is 0, so sd-scripts does not train this part: {path} = false")
    several = conversion.get("text_encoder_lr")
    if isinstance(several, list) and len({str(item) for item in several}) > 1:
        conversion.note(
            f"text_encoder_lr = {several}: with these networks sd-scripts takes the first rate for all text encoders"
        )
    if general == 0 and conversion.has("learning_rate"):
        conversion.drop("learning_rate", "is 0; the rates of UNet and text encoder count")


def base_model(conversion: Conversion) -> None:
    """Take v2, model_type and model_train_type: the family, where the file tells it."""
    length = conversion.get("max_token_length")
    made = conversion.valid_or_none("max_token_length", values.token_length)
    if made is not None and str(made) != str(length):
        conversion.note(f"max_token_length = {length}: sd-scripts makes pieces of 75 of it, {made} in all")
    for key in ("model_type", "model_train_type"):
        if conversion.has(key):
            name = str(conversion.get(key))
            if name in MODEL_TYPES:
                conversion.honour(key, "model.family", MODEL_TYPES[name])
            elif conversion.preset:
                conversion.drop(key, UNSUPPORTED)
            else:
                conversion.refuse(key, f"{name}: {UNSUPPORTED}")
    if conversion.has("tokenizer_cache_dir"):
        _tokenizer(conversion)
    sdxl = any(MODEL_TYPES.get(str(conversion.get(key))) == "sdxl" for key in ("model_type", "model_train_type"))
    if sdxl and conversion.has("clip_skip"):
        conversion.drop("clip_skip", "sd-scripts does not use it for SDXL, which always takes the last layer but one")
    if conversion.has("v2"):
        conversion.honour("v2", "model.family", "sd2" if conversion.value("v2", values.flag) else None)


def _tokenizer(conversion: Conversion) -> None:
    """Take tokenizer_cache_dir: sd-scripts keeps each tokenizer in a folder named after its model."""
    key = "tokenizer_cache_dir"
    given = conversion.get(key)
    if values.is_off(given):
        conversion.honour(key, "model.tokenizer", None)
        return
    folder = Path(conversion.absolute(key, given)) / "openai_clip-vit-large-patch14"
    # os.path, as a name that no file can have is answered too.
    if os.path.isdir(folder):  # noqa: PTH112
        conversion.honour(key, "model.tokenizer", str(folder))
    else:
        conversion.drop(key, f"{folder} does not exist; CLIP's tokenizer is looked for in the Hugging Face cache")


def arithmetic(conversion: Conversion) -> None:
    """Take the kinds of attention, of which kohya uses the first that is on, and full_fp16 / full_bf16."""
    chosen = None
    for key, name in (("mem_eff_attn", "sdpa"), ("xformers", "xformers"), ("sdpa", "sdpa")):
        if not conversion.has(key):
            continue
        on = conversion.value(key, values.flag)
        if on and chosen:
            conversion.drop(key, f"{chosen} is on too and comes first")
            continue
        conversion.honour(key, "train.attention", name if on else None)
        chosen = key if on else chosen
    for key, precision in (("full_fp16", "fp16"), ("full_bf16", "bf16")):
        if not conversion.has(key):
            continue
        on = conversion.value(key, values.flag)
        if on and values.precision(conversion.get("mixed_precision", "no")) != precision:
            conversion.refuse(key, f'needs mixed_precision = "{precision}"')
        elif on and precision == "fp16":
            conversion.drop(key, "the trained weights stay in fp32, as fp16 loses small steps; it costs little memory")
        else:
            conversion.honour(key, "train.full_precision", False if on else None)


def length(conversion: Conversion) -> None:
    """Take max_train_steps and save_last_n_steps; epochs come before steps."""
    epochs = not values.is_off(conversion.get("max_train_epochs"))
    if conversion.has("max_train_steps"):
        if epochs:
            conversion.drop("max_train_steps", "max_train_epochs is given and comes first")
        else:
            conversion.honour("max_train_steps", "train.steps", conversion.value("max_train_steps", values.whole))
    elif not epochs and not conversion.preset:
        conversion.set("train.steps", DEFAULT_STEPS, DEFAULT)
        conversion.note(f"the file gives no length; kohya's default is {DEFAULT_STEPS} steps")
    if conversion.has("save_last_n_steps"):
        every = conversion.get("save_every_n_steps")
        if values.is_off(every) or values.is_off(conversion.get("save_last_n_steps")):
            conversion.drop("save_last_n_steps", "counts for save_every_n_steps, which is not given")
        else:
            keep = conversion.value("save_last_n_steps", values.whole) // values.whole(every) + 1
            conversion.honour("save_last_n_steps", "save.keep", keep)
    if conversion.get("seed") is None and not conversion.preset:
        conversion.set("train.seed", DEFAULT_SEED)
        conversion.note(f"the file gives no seed; kohya draws one, here it is {DEFAULT_SEED}")


def optimizer(conversion: Conversion) -> None:
    """Take optimizer_args, the older switches for an optimiser, and lora-scripts' fields for Prodigy."""
    if conversion.get("lr_restart_cycles", 1) not in (1, "1") and conversion.given["lr_restart_cycles"].name == KEY:
        conversion.note(f"today's sd-scripts silently ignore {KEY}; it is read as lr_scheduler_num_cycles")
    for key, name in (("use_8bit_adam", "AdamW8bit"), ("use_lion_optimizer", "Lion")):
        if conversion.has(key):
            conversion.honour(key, "optimizer.kind", name if conversion.value(key, values.flag) else None)
    arguments: dict[str, Any] = {}
    for key in ("optimizer_args", "optimizer_args_custom"):
        if conversion.has(key):
            found = conversion.value(key, lambda v: values.arguments(v or []))
            arguments |= found
            conversion.honour(key, "optimizer.args", dict(found) or None)
    for key, name in (("prodigy_d0", "d0"), ("prodigy_d_coef", "d_coef")):
        if conversion.has(key) and not values.is_off(conversion.get(key)):
            arguments[name] = conversion.value(key, values.number)
            conversion.honour(key, f"optimizer.args.{name}", arguments[name])
        elif conversion.has(key):
            conversion.honour(key, f"optimizer.args.{name}", None)
    if conversion.valid_or_none("optimizer_type", values.optimizer) == "Adafactor" and not conversion.preset:
        arguments = _adafactor(conversion, arguments)
    if arguments:
        conversion.set("optimizer.args", arguments)


def _adafactor(conversion: Conversion, given: dict[str, Any]) -> dict[str, Any]:
    """All arguments of Adafactor as sd-scripts completes them; with relative_step it goes by no learning rate."""
    found = {"scale_parameter": True, "relative_step": True, "warmup_init": False} | given
    if found["warmup_init"] and not found["relative_step"]:
        found["relative_step"] = True
        conversion.note("warmup_init is on, so sd-scripts sets relative_step to True")
    if found["relative_step"]:
        for key in ("learning_rate", "unet_lr", "text_encoder_lr", "lr_scheduler", "lr_warmup_steps"):
            if conversion.has(key):
                conversion.drop(
                    key, "Adafactor with relative_step finds its own steps; sd-scripts does not use it either"
                )
    return found


def samples(conversion: Conversion) -> None:
    """Take the sample pictures: a prompt file, one prompt, or the fields of lora-scripts' settings window."""
    window = _window_prompt(conversion)
    prompts = conversion.get("prompt_file") or conversion.get("sample_prompts")
    for key in ("prompt_file", "sample_prompts"):
        if conversion.has(key):
            _prompts(conversion, key)
    if window and not prompts:
        conversion.set("sample.prompts", [window], conversion.given["positive_prompts"].name)
    drawn = bool(window or prompts) and values.flag(conversion.get("enable_preview", True))
    if conversion.has("enable_preview"):
        conversion.honour("enable_preview", "sample", None)
    for key, path, convert in (
        ("sample_every_n_epochs", "sample.every_epochs", values.count),
        ("sample_every_n_steps", "sample.every_steps", values.count),
        ("sample_at_first", "sample.at_first", values.flag),
    ):
        if conversion.has(key) and drawn:
            conversion.honour(key, path, conversion.value(key, convert))
        elif conversion.has(key):
            conversion.drop(key, "there is no sample_prompts, so kohya draws nothing either")


def logs(conversion: Conversion) -> None:
    """Take log_with and logging_dir: kohya writes TensorBoard's files if a folder is given."""
    folder = bool(conversion.get("logging_dir"))
    wanted = str(conversion.get("log_with") or ("tensorboard" if folder else ""))
    if conversion.has("logging_dir"):
        conversion.drop("logging_dir", "logs stand in the run folder")
    if conversion.has("log_with"):
        if wanted == "wandb":
            conversion.drop("log_with", REASONS["wandb_api_key"])
        else:
            conversion.honour("log_with", "log.tensorboard", wanted in ("tensorboard", "all") or None)
    elif wanted:
        conversion.set("log.tensorboard", True, conversion.given["logging_dir"].name)


def _prompts(conversion: Conversion, key: str) -> None:
    """A prompt file, or the prompt itself, which lora-scripts also takes."""
    given = conversion.get(key)
    if isinstance(given, list):
        conversion.honour(key, "sample.prompts", [str(prompt) for prompt in given])
        return
    value = str(given or "")
    if not value:
        conversion.honour(key, "sample.prompts", None)
    elif " --" in value or "," in value:
        conversion.honour(key, "sample.prompts", [value])
    elif Path(value).suffix in (".json", ".toml"):
        conversion.refuse(key, f"prompts are read from a text file, one a line (is {value!r})")
    else:
        conversion.honour(key, "sample.prompts_file", conversion.absolute(key, value))


def _window_prompt(conversion: Conversion) -> str | None:
    """The prompt in kohya's syntax that the settings window describes, None if it describes none."""
    fields = {
        "negative_prompts": "--n",
        "sample_width": "--w",
        "sample_height": "--h",
        "sample_cfg": "--l",
        "sample_steps": "--s",
        "sample_seed": "--d",
    }
    prompt = str(conversion.get("positive_prompts") or "")
    parts = [prompt]
    for key, option in fields.items():
        value = conversion.get(key)
        if value not in (None, ""):
            parts.append(f"{option} {value}")
    text = " ".join(parts) if prompt else None
    for key in (*fields, "positive_prompts"):  # the last is named beside the prompt
        if conversion.has(key) and text:
            conversion.honour(key, "sample.prompts", [text])
        elif conversion.has(key):
            conversion.drop(key, "there is no prompt to draw (positive_prompts)")
    return text
