"""Every key of a training file that can be read: an option of sd-scripts, or a field of lora-scripts' GUI."""

from training.kohya.honoured import EQUIVALENTS
from training.kohya.network_arguments import GUI_ARGUMENTS
from training.kohya.unhonoured import REASONS

STEP_KEYS = {
    "v2",
    "model_type",
    "model_train_type",
    "mem_eff_attn",
    "xformers",
    "sdpa",
    "full_fp16",
    "full_bf16",
    "max_train_steps",
    "save_last_n_steps",
    "use_8bit_adam",
    "use_lion_optimizer",
    "optimizer_args",
    "optimizer_args_custom",
    "prodigy_d0",
    "prodigy_d_coef",
    "enable_preview",
    "prompt_file",
    "sample_prompts",
    "sample_every_n_epochs",
    "sample_every_n_steps",
    "sample_at_first",
    "positive_prompts",
    "negative_prompts",
    "sample_width",
    "sample_height",
    "sample_cfg",
    "sample_steps",
    "sample_seed",
    "logging_dir",
    "log_with",
    "network_module",
    "network_args",
    "network_args_custom",
    "train_data_dir",
    "reg_data_dir",
    "dataset_config",
    "tokenizer_cache_dir",
}

KNOWN = frozenset({*EQUIVALENTS, *REASONS, *STEP_KEYS, *GUI_ARGUMENTS})
