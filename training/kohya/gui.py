"""JSON presets and saved settings of kohya_ss's GUI, converted to the options that the GUI passes to sd-scripts.

Read from kohya_gui/lora_gui.py of July 2026, and compared with what that window writes for kohya_ss' own presets.
"""

import shlex
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from training.errors import InputError, quoted
from training.kohya import values
from training.kohya.bash import Field
from training.kohya.command_line import parse_command_line
from training.kohya.conversion import Entry
from training.kohya.report import NotHonoured, Report

RENAMED = {
    "max_resolution": "resolution",
    "optimizer": "optimizer_type",
    "lora_network_weights": "network_weights",
    "sdxl_no_half_vae": "no_half_vae",
    "sdxl_cache_text_encoder_outputs": "cache_text_encoder_outputs",
}
"""The GUI's names of sd-scripts' options."""

LYCORIS = ["conv_dim", "conv_alpha", "use_tucker", "use_cp", "rank_dropout", "module_dropout", "use_scalar"]
LYCORIS += ["rank_dropout_scale", "bypass_mode", "dora_wd", "train_norm"]
KOHYA = ["block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas", "rank_dropout", "module_dropout"]
KOHYA += ["down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold"]
NETWORKS: dict[str, tuple[str, str, list[str]]] = {
    "Standard": ("networks.lora", "", KOHYA),
    "Kohya LoCon": ("networks.lora", "", ["conv_dim", "conv_alpha", *KOHYA]),
    "Kohya LoHa": ("networks.loha", "", ["conv_dim", "conv_alpha", "use_tucker", "rank_dropout", "module_dropout"]),
    "Kohya LoKr": (
        "networks.lokr",
        "",
        ["conv_dim", "conv_alpha", "use_tucker", "rank_dropout", "module_dropout", "factor"],
    ),
    "LoCon": ("lycoris.kohya", "locon", LYCORIS),
    "LyCORIS/LoCon": ("lycoris.kohya", "locon", LYCORIS),
    "LyCORIS/LoHa": ("lycoris.kohya", "loha", LYCORIS),
    "LyCORIS/LoKr": ("lycoris.kohya", "lokr", [*LYCORIS, "factor", "decompose_both"]),
}
"""network_module, LyCORIS algorithm, and the settings that become network_args, by LoRA_type."""

DEFAULTS: dict[str, Any] = {
    "output_name": "last",
    "max_resolution": "512,512",
    "learning_rate": 1e-4,
    "unet_lr": 1e-4,
    "text_encoder_lr": 1e-4,
    "network_dim": 8,
    "conv_dim": 1,
    "conv_alpha": 1,
    "lr_scheduler": "cosine",
    "lr_warmup": 10,
    "save_every_n_epochs": 1,
    "cache_latents": True,
    "caption_extension": ".txt",
    "enable_bucket": True,
    "bucket_no_upscale": True,
    "max_bucket_reso": 2048,
    "mixed_precision": "fp16",
    "save_precision": "fp16",
    "xformers": "xformers",
    "sample_sampler": "euler_a",
}
"""What the GUI passes where a file names no value; only where sd-scripts' own default is another."""

LORA_PLUS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
WHOLE = ("keep_tokens", "bucket_reso_steps", "caption_dropout_every_n_epochs", "gradient_accumulation_steps", "seed")
ZERO_IS_UNSET = ("seed", "clip_skip", "vae_batch_size", "max_timestep", "unet_lr", "max_train_steps")
OF_OTHERS = {"model_type", "guidance_scale"}
"""Options that the window holds for Flux alone, whatever is trained."""

_WINDOW = "belongs to kohya_ss' window"
_OLD_SWITCH = f"{_WINDOW}, which reads it only in files without optimizer"
_OTHER = f"{_WINDOW}: it passes this to other networks or families only"


def is_gui(raw: Mapping[str, Any]) -> bool:
    """Whether a JSON object is from kohya_ss's GUI for LoRAs."""
    return "LoRA_type" in raw


def read_gui(file: Path, raw: Mapping[str, Any], known: Container[str]) -> tuple[dict[str, Entry], Report]:
    """The options that the GUI would pass, and a report of the others.

    Raises InputError if the file is for a family or a network that is not trained here.
    """
    _refuse_others(file, raw)
    report = Report(file)
    # A file that names no model is a preset, which changes only what it names.
    whole = raw.get("pretrained_model_name_or_path")
    defaults = {key: value for key, value in DEFAULTS.items() if whole and raw.get(key) is None}
    if raw.get("lr_scheduler") == "constant":
        defaults.pop("lr_warmup", None)  # the window sets it to 0 when this schedule is chosen
    in_file, raw = raw, {**raw, **defaults}
    entries = {
        RENAMED.get(key, key): Entry(value, key)
        for key, value in raw.items()
        if RENAMED.get(key, key) in known and value is not None and key not in OF_OTHERS
    }
    passed = _network(entries, raw, str(raw["LoRA_type"]))
    _numbers(file, entries)
    _length(file, entries, raw, report)
    _rates(file, entries, raw)
    _noise(entries, raw)
    if "optimizer" in raw and "use_8bit_adam" in entries:
        del entries["use_8bit_adam"]
        report.not_honoured.append(NotHonoured("use_8bit_adam", raw["use_8bit_adam"], _OLD_SWITCH))
        passed.add("use_8bit_adam")
    _attention(entries, raw)
    if raw.get("sdxl"):
        entries["model_type"] = Entry("sdxl", "sdxl")
    for key in ("optimizer_args", "lr_scheduler_args"):
        if isinstance(raw.get(key), str):
            entries[key] = Entry(raw[key].replace('"', "").split(), key)
    entries |= _more(file, str(raw.get("additional_parameters") or ""), known)
    named = {entry.name for entry in entries.values()} | passed | {"additional_parameters"}
    for key, value in in_file.items():
        if key not in named and key not in defaults:
            report.not_honoured.append(NotHonoured(key, value, _OTHER if value else _WINDOW))
    return {key: _origin(entry, defaults) for key, entry in entries.items()}, report


def _refuse_others(file: Path, raw: Mapping[str, Any]) -> None:
    """InputError for a family or a network that is not trained here."""
    others = [key for key, value in raw.items() if key.endswith("_checkbox") and value is True]
    if others:
        raise InputError(f"{file}: {others[0]}: is not supported; families here are SD 1.5, SD 2 and SDXL")
    if (kind := str(raw["LoRA_type"])) not in NETWORKS:
        raise InputError(f"{file}: LoRA_type: {kind} is not supported; known are {', '.join(NETWORKS)}")


def _origin(entry: Entry, defaults: Container[str]) -> Entry:
    """The entry, told as the window's where the file names no value."""
    return Entry(entry.value, f"{entry.name} (kohya_ss' default)") if entry.name in defaults else entry


def _network(entries: dict[str, Entry], raw: Mapping[str, Any], kind: str) -> set[str]:
    """Set network_module and network_args; returns the settings that went into them."""
    module, algorithm, names = NETWORKS[kind]
    off = (None, "", "0", 0) if module == "networks.lora" else (None, "")
    args = {name: raw[name] for name in names if name in raw and raw[name] not in off}
    args |= {name: raw[name] for name in LORA_PLUS if raw.get(name)}
    if algorithm:
        args = {"preset": raw.get("LyCORIS_preset") or "full", "algo": algorithm} | args
    for name in ("conv_dim", "conv_alpha", "factor", "dropout", "network_args", "unit"):
        entries.pop(name, None)
    entries["network_module"] = Entry(module, "LoRA_type")
    entries["network_args"] = Entry([f"{name}={value}" for name, value in args.items()], "network_args")
    return {*(name for name in names if name in raw), "LyCORIS_preset", *LORA_PLUS} & raw.keys()


def _numbers(file: Path, entries: dict[str, Entry]) -> None:
    """Convert numbers that the GUI stores as text or with a fraction, and zeros that it does not pass."""
    for key in WHOLE:
        if key in entries and entries[key].value not in ("", None):
            entries[key] = Entry(int(_number(file, entries[key].name, entries[key].value)), entries[key].name)
    for key in ZERO_IS_UNSET:
        if key in entries and entries[key].value in (0, "0", 0.0):
            entries[key] = Entry("", entries[key].name)


def _number(file: Path, key: str, value: Any) -> float:
    try:
        return values.number(value)
    except ValueError as error:
        raise InputError(f"{file}: {key}: {error} (is {quoted(value)})") from error


def _length(file: Path, entries: dict[str, Entry], raw: Mapping[str, Any], report: Report) -> None:
    """Convert epoch, if neither steps nor epochs are set, and warm-up in percent."""
    set_elsewhere = any(not values.is_off(raw.get(key)) for key in ("max_train_steps", "max_train_epochs"))
    if raw.get("epoch") and not set_elsewhere and not raw.get("dataset_config"):
        entries["max_train_epochs"] = Entry(raw["epoch"], "epoch")
        report.notes.append("kohya_ss counts epoch into steps from the pictures; here it is train.epochs")
    if raw.get("lr_scheduler_num_cycles") == "":
        entries["lr_scheduler_num_cycles"] = Entry(1, "lr_scheduler_num_cycles")
    if values.is_off(raw.get("lr_warmup_steps")) and not values.is_off(raw.get("lr_warmup")):
        entries["lr_warmup_steps"] = Entry(_number(file, "lr_warmup", raw["lr_warmup"]) / 100, "lr_warmup")


def _rates(file: Path, entries: dict[str, Entry], raw: Mapping[str, Any]) -> None:
    """Which parts are trained follows from the two rates."""
    text, unet = (_number(file, key, raw.get(key) or 0) for key in ("text_encoder_lr", "unet_lr"))
    for key in ("network_train_unet_only", "network_train_text_encoder_only", "text_encoder_lr"):
        entries.pop(key, None)
    if text:
        entries["text_encoder_lr"] = Entry(raw["text_encoder_lr"], "text_encoder_lr")
    if bool(text) != bool(unet):
        off = "unet_lr" if text else "text_encoder_lr"
        entries[off] = Entry(0, off)


def _noise(entries: dict[str, Entry], raw: Mapping[str, Any]) -> None:
    """The GUI passes only the chosen one of two kinds of noise."""
    chosen = raw.get("noise_offset_type", "Original")
    other = (
        ("noise_offset", "adaptive_noise_scale", "noise_offset_random_strength")
        if chosen == "Multires"
        else ("multires_noise_iterations", "multires_noise_discount")
    )
    for key in (*other, "noise_offset_type", "epoch"):
        entries.pop(key, None)


def _attention(entries: dict[str, Entry], raw: Mapping[str, Any]) -> None:
    """The GUI has one menu for the kinds of attention."""
    chosen = raw.get("xformers")
    entries.pop("xformers", None)
    if chosen in (True, "xformers", "sdpa"):
        entries["sdpa" if chosen == "sdpa" else "xformers"] = Entry(True, "xformers")


def _more(file: Path, text: str, known: Container[str]) -> dict[str, Entry]:
    """The options in the GUI's field for additional parameters."""
    try:
        words = [Field(word) for word in shlex.split(text)]
    except ValueError as error:
        raise InputError(f"{file}: additional_parameters: {str(error).lower()}") from error
    return parse_command_line(f"{file}: additional_parameters", words, known)
