"""The command line of sd-scripts, read as its own argument parser reads it."""

import re
from collections.abc import Container, Sequence

from training.errors import InputError
from training.kohya.bash import Value
from training.kohya.reading import Given

LISTS = frozenset(
    (
        "optimizer_args",
        "lr_scheduler_args",
        "network_args",
        "text_encoder_lr",
        "base_weights",
        "base_weights_multiplier",
    )
)
"""Options that take any number of values."""

FLAGS = frozenset(
    (
        "alpha_mask",
        "async_upload",
        "ddp_gradient_as_bucket_view",
        "ddp_static_graph",
        "fp16_master_weights_and_gradients",
        "use_safetensors",
        "zero3_init_flag",
        "zero3_save_16bit_model",
        "bucket_no_upscale",
        "cache_info",
        "cache_latents",
        "cache_latents_to_disk",
        "cache_text_encoder_outputs",
        "cache_text_encoder_outputs_to_disk",
        "color_aug",
        "cpu_offload_checkpointing",
        "debiased_estimation_loss",
        "debug_dataset",
        "deepspeed",
        "dim_from_weights",
        "disable_mmap_load_safetensors",
        "enable_bucket",
        "enable_wildcard",
        "flip_aug",
        "fp8_base",
        "fp8_base_unet",
        "full_bf16",
        "full_fp16",
        "fused_backward_pass",
        "gradient_checkpointing",
        "highvram",
        "ip_noise_gamma_random_strength",
        "log_config",
        "lowram",
        "masked_loss",
        "mem_eff_attn",
        "network_train_text_encoder_only",
        "network_train_unet_only",
        "no_half_vae",
        "no_metadata",
        "noise_offset_random_strength",
        "output_config",
        "persistent_data_loader_workers",
        "random_crop",
        "resume_from_huggingface",
        "sample_at_first",
        "save_state",
        "save_state_on_train_end",
        "save_state_to_huggingface",
        "scale_v_pred_loss_like_noise_pred",
        "sdpa",
        "shuffle_caption",
        "skip_cache_check",
        "skip_until_initial_step",
        "torch_compile",
        "use_8bit_adam",
        "use_lion_optimizer",
        "v2",
        "v_parameterization",
        "weighted_captions",
        "xformers",
        "zero_terminal_snr",
    )
)
"""Options without a value."""

_OPTION = re.compile(r"--([A-Za-z]\w*)$")
_NUMBER = re.compile(r"-\d+$|-\d*\.\d+$|-\d*\.?\d+e[+-]?\d+$", re.IGNORECASE)


def parse(where: str, words: Sequence[Value], known: Container[str]) -> dict[str, Given]:
    """What a command line gives, under the names of its options; the last of several counts.

    An option that is not `known` is left for others to refuse.

    Raises InputError, beginning with `where`, if sd-scripts would refuse the line.
    """
    found: dict[str, Given] = {}
    place = 0
    while place < len(words):
        word = words[place]
        option, equals, value = word.text.partition("=")
        match = _OPTION.match(option)
        if not match:
            raise InputError(f"{where}: {word.text!r} is no option of sd-scripts, nor the value of one")
        name, place = match[1], place + 1
        values = [Value(value, word.names)] if equals else []
        while not equals and place < len(words) and not _is_option(words[place].text):
            values.append(words[place])
            place += 1
        _check(where, name, values, known)
        names = {origin for given in values for origin in given.names}
        label = next(iter(names)) if len(names) == 1 else f"--{name}"
        found[name] = Given(_content(name, values), label)
    return found


def _is_option(text: str) -> bool:
    return text.startswith("-") and not _NUMBER.match(text)


def _check(where: str, name: str, values: Sequence[Value], known: Container[str]) -> None:
    given = " ".join(value.text for value in values)
    if name in FLAGS and values:
        raise InputError(f"{where}: --{name} takes no value, but {given!r} follows; sd-scripts refuses that")
    if name in LISTS or name in FLAGS or name not in known:
        return
    if not values:
        raise InputError(f"{where}: --{name} needs a value")
    if len(values) > 1:
        raise InputError(f"{where}: --{name} takes one value, but {given!r} follows; quote it if it has blanks")


def _content(name: str, values: Sequence[Value]) -> str | bool | list[str]:
    if name in FLAGS:
        return True
    if name in LISTS:
        return [value.text for value in values]
    return values[0].text if values else True
