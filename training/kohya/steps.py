"""Keys of kohya configs that depend on each other: base model, arithmetic, length, and keys without an effect."""

import os
from pathlib import Path

from training.kohya import values
from training.kohya.conversion import DEFAULT, Conversion

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
        if conversion.remains(key) and (values.is_off(value) or (counting and str(value) not in counting)):
            conversion.drop(
                key, f"has no effect: {other} is {value}" if value != "" else f"has no effect without {other}"
            )
    buckets = conversion.get("enable_bucket", False)
    if not conversion.remains("dataset_config") and values.is_off(buckets):
        for key in _BUCKETS:
            if conversion.remains(key):
                conversion.drop(key, "has no effect without enable_bucket")


def base_model(conversion: Conversion) -> None:
    """Take v2, model_type and model_train_type: the family, where the file tells it."""
    length = conversion.get("max_token_length")
    made = conversion.converted_or_none("max_token_length", values.token_length)
    if made is not None and str(made) != str(length):
        conversion.note(f"max_token_length = {length}: sd-scripts makes pieces of 75 of it, {made} in all")
    for key in ("model_type", "model_train_type"):
        if conversion.remains(key):
            name = str(conversion.get(key))
            if name in MODEL_TYPES:
                conversion.honour(key, "model.family", MODEL_TYPES[name])
            elif conversion.preset:
                conversion.drop(key, UNSUPPORTED)
            else:
                conversion.refuse(key, f"{name}: {UNSUPPORTED}")
    if conversion.remains("tokenizer_cache_dir"):
        _tokenizer(conversion)
    sdxl = any(MODEL_TYPES.get(str(conversion.get(key))) == "sdxl" for key in ("model_type", "model_train_type"))
    if sdxl and conversion.remains("clip_skip"):
        conversion.drop("clip_skip", "sd-scripts does not use it for SDXL, which always takes the last layer but one")
    elif (conversion.converted_or_none("clip_skip", values.at_least_one) or 1) > 1 and not _names_sd(conversion):
        conversion.note("clip_skip: counts for SD 1.5 and SD 2; SDXL always takes the last layer but one, as in kohya")
    if conversion.remains("v2"):
        conversion.honour("v2", "model.family", "sd2" if conversion.converted("v2", values.switch) else None)


def _names_sd(conversion: Conversion) -> bool:
    """Whether the file says itself that its base model is SD 1.5 or SD 2: a script also by the program that it runs."""
    if conversion.program == "train_network.py":
        return True
    named = {MODEL_TYPES.get(str(conversion.get(key))) for key in ("model_type", "model_train_type")}
    return bool(named & {"sd1", "sd2"}) or not values.is_off(conversion.get("v2"))


def _tokenizer(conversion: Conversion) -> None:
    """Take tokenizer_cache_dir: sd-scripts keeps each tokenizer in a folder named after its model."""
    key = "tokenizer_cache_dir"
    cache = conversion.get(key)
    if values.is_off(cache):
        conversion.honour(key, "model.tokenizer", None)
        return
    folder = Path(conversion.absolute(key, cache)) / "openai_clip-vit-large-patch14"
    # os.path, as a name that no file can have is answered too.
    if os.path.isdir(folder):  # noqa: PTH112
        conversion.honour(key, "model.tokenizer", str(folder))
    else:
        conversion.drop(key, f"{folder} does not exist; CLIP's tokenizer is looked for in the Hugging Face cache")


def arithmetic(conversion: Conversion) -> None:
    """Take the kinds of attention, of which kohya uses the first that is on, and full_fp16 / full_bf16."""
    chosen = None
    for key, name in (("mem_eff_attn", "sdpa"), ("xformers", "xformers"), ("sdpa", "sdpa")):
        if not conversion.remains(key):
            continue
        on = conversion.converted(key, values.switch)
        if on and chosen:
            conversion.drop(key, f"{chosen} is on too and comes first")
            continue
        conversion.honour(key, "train.attention", name if on else None)
        chosen = key if on else chosen
    for key, precision in (("full_fp16", "fp16"), ("full_bf16", "bf16")):
        if not conversion.remains(key):
            continue
        on = conversion.converted(key, values.switch)
        if on and values.precision(conversion.get("mixed_precision", "no")) != precision:
            conversion.refuse(key, f'needs mixed_precision = "{precision}"')
        elif on and precision == "fp16":
            conversion.drop(key, "the trained weights stay in fp32, as fp16 loses small steps; it costs little memory")
        else:
            conversion.honour(key, "train.full_precision", False if on else None)


def length(conversion: Conversion) -> None:
    """Take max_train_steps and save_last_n_steps; epochs come before steps."""
    epochs = not values.is_off(conversion.get("max_train_epochs"))
    if conversion.remains("max_train_steps"):
        if epochs:
            conversion.drop("max_train_steps", "max_train_epochs is given and comes first")
        else:
            conversion.honour("max_train_steps", "train.steps", conversion.converted("max_train_steps", values.whole))
    elif not epochs and not conversion.preset:
        conversion.set("train.steps", DEFAULT_STEPS, DEFAULT)
        conversion.note(f"the file gives no length; kohya's default is {DEFAULT_STEPS} steps")
    if conversion.remains("save_last_n_steps"):
        every = conversion.get("save_every_n_steps")
        if values.is_off(every) or values.is_off(conversion.get("save_last_n_steps")):
            conversion.drop("save_last_n_steps", "counts for save_every_n_steps, which is not given")
        else:
            keep = conversion.converted("save_last_n_steps", values.whole) // values.whole(every) + 1
            conversion.honour("save_last_n_steps", "save.keep", keep)
    if conversion.get("seed") is None and not conversion.preset:
        conversion.set("train.seed", DEFAULT_SEED)
        conversion.note(f"the file gives no seed; kohya draws one, here it is {DEFAULT_SEED}")
