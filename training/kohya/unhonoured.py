"""The keys of sd-scripts and lora-scripts that have no place in our config, each with the reason."""

_PLACEMENT = "where tensors live follows from train.device"
_WANDB = "logs go to log.jsonl and TensorBoard, to no online service"
_STATE = "checkpoints to resume from are always written; save.keep_checkpoints says how many stay"
_STAND_ALONE = "one process trains on one device"
_PRIVATE = "no file is uploaded by the trainer"
_METADATA = "the file's metadata follows from the config; save.comment is free text"
_PREVIEW = "belongs to the settings window of lora-scripts"
_PRESET = "describes the preset, not the training"
_BLOCKS = "rates by block are not supported; network.ranks sets ranks by block"
_BASE_WEIGHTS = "merge them into the checkpoint first: lora-train merge --into"
_FLOW = "belongs to SD3, Flux and their like; families here are SD 1.5, SD 2 and SDXL"
_DEEPSPEED = "DeepSpeed is not used: a LoRA's optimiser state is small"
_FINE_TUNE = "belongs to full fine-tuning"

REASONS: dict[str, str] = {
    # command line
    "config_file": "names the file itself",
    "output_config": "lora-train convert prints the config",
    "output_dir": "the run folder is given to lora-train run",
    "debug_dataset": "lora-train check shows the data without training",
    "console_log_level": "is about kohya's own output",
    "console_log_file": "is about kohya's own output",
    "console_log_simple": "is about kohya's own output",
    # placement, processes
    "lowram": _PLACEMENT,
    "highvram": _PLACEMENT,
    "blocks_to_swap": _PLACEMENT,
    "cpu_offload_checkpointing": _PLACEMENT,
    "disable_mmap_load_safetensors": "is about how kohya reads the checkpoint",
    "fp8_base_unet": _FLOW,
    "fp16_master_weights_and_gradients": _FINE_TUNE,
    "no_half_vae": "the VAE always works in fp32",
    "dynamo_backend": "train.compile uses PyTorch's default",
    "persistent_data_loader_workers": "workers always stay, and never change the result",
    "ddp_timeout": _STAND_ALONE,
    "ddp_gradient_as_bucket_view": _STAND_ALONE,
    "ddp_static_graph": _STAND_ALONE,
    "gpu_ids": _STAND_ALONE,
    **dict.fromkeys(
        (
            "deepspeed",
            "zero_stage",
            "zero3_init_flag",
            "zero3_save_16bit_model",
            "offload_optimizer_device",
            "offload_optimizer_nvme_path",
            "offload_param_device",
            "offload_param_nvme_path",
        ),
        _DEEPSPEED,
    ),
    # data
    "cache_latents_to_disk": "cached latents are always kept on disk",
    "cache_text_encoder_outputs_to_disk": "cached text is always kept on disk",
    "text_encoder_batch_size": "is about how kohya fills its cache",
    "skip_cache_check": "caches are keyed by content and always checked",
    "cache_info": "pictures are read anew; it takes seconds",
    "in_json": "metadata files of full fine-tuning are not read; captions stand beside the pictures",
    "dataset_class": "own dataset classes are code, not settings",
    "dataset_repeats": _FINE_TUNE,
    "face_crop_aug_range": "crops around faces are not supported; crop the pictures before",
    "enable_wildcard": "wildcards in captions are not supported",
    "secondary_separator": "secondary separators in captions are not supported",
    "token_warmup_min": "token warm-up is not supported",
    "token_warmup_step": "token warm-up is not supported",
    "resize_interpolation": "pictures are resized as kohya does by default",
    "conditioning_data_dir": "masks come from the pictures' alpha channel: alpha_mask",
    "masked_loss": "masks come from the pictures' alpha channel: alpha_mask",
    "custom_attributes": "is read by programs built on kohya's",
    "network_multiplier": "the network always trains at full strength",
    "tokenizer_cache_dir": "model.tokenizer names a folder with the tokenizer",
    "metadata_file": "metadata files of full fine-tuning are not read; captions stand beside the pictures",
    # network
    "base_weights": _BASE_WEIGHTS,
    "base_weights_multiplier": _BASE_WEIGHTS,
    "stop_text_encoder_training": "counts in steps; set network.text_encoder_until, a share of all steps",
    "down_lr_weight": _BLOCKS,
    "mid_lr_weight": _BLOCKS,
    "up_lr_weight": _BLOCKS,
    "block_lr_zero_threshold": _BLOCKS,
    "dylora_unit": "DyLoRA is not supported; lora-train resize makes lower ranks afterwards",
    "train_norm": "normalisation layers are not trained",
    # optimiser
    "lr_scheduler_type": "own schedules are code, not settings",
    "lr_scheduler_args": "own schedules are code, not settings",
    "lr_scheduler_timescale": "belongs to schedules that are not offered",
    "lr_scheduler_min_lr_ratio": "belongs to schedules that are not offered",
    "lr_decay_steps": "belongs to schedules that are not offered",
    "optimizer_schedulefree_wrapper": "choose AdamWScheduleFree, SGDScheduleFree or RAdamScheduleFree",
    "schedulefree_wrapper_args": "choose AdamWScheduleFree, SGDScheduleFree or RAdamScheduleFree",
    "fused_backward_pass": _FINE_TUNE,
    # objective
    "perlin_noise": "is not implemented by kohya either",
    # saving and resuming
    "save_model_as": "the file is always safetensors",
    "use_safetensors": "the file is always safetensors",
    "save_n_epoch_ratio": "set save.every_epochs",
    "save_state": _STATE,
    "save_state_on_train_end": _STATE,
    "save_last_n_epochs_state": _STATE,
    "save_last_n_steps_state": _STATE,
    "resume": "a run goes on by itself from its run folder; kohya's state folders cannot be read",
    "initial_epoch": "a run goes on by itself from its run folder",
    "initial_step": "a run goes on by itself from its run folder",
    "skip_until_initial_step": "a run goes on by itself from its run folder",
    "no_metadata": _METADATA,
    **dict.fromkeys(
        (
            "metadata_title",
            "metadata_author",
            "metadata_description",
            "metadata_license",
            "metadata_tags",
            "metadata_usage_hint",
            "metadata_thumbnail",
            "metadata_merged_from",
            "metadata_trigger_phrase",
            "metadata_preprocessor",
            "metadata_is_negative_embedding",
        ),
        _METADATA,
    ),
    **dict.fromkeys(
        (
            "huggingface_repo_id",
            "huggingface_repo_type",
            "huggingface_path_in_repo",
            "huggingface_token",
            "huggingface_repo_visibility",
            "save_state_to_huggingface",
            "resume_from_huggingface",
            "async_upload",
        ),
        _PRIVATE,
    ),
    # logs, validation
    "log_prefix": "each run has its own folder",
    "log_tracker_name": _WANDB,
    "log_tracker_config": _WANDB,
    "wandb_run_name": _WANDB,
    "wandb_api_key": _WANDB,
    "log_config": _WANDB,
    "validation_seed": "validation has fixed noise of its own",
    "validate_every_n_epochs": "validation runs every epoch, or every validation.every_steps",
    "max_validation_steps": "every picture held back is measured",
    # lora-scripts
    "enable_block_weights": _BLOCKS,
    "enable_base_weight": _BASE_WEIGHTS,
    "randomly_choice_prompt": _PREVIEW,
    "ui_custom_params": _PREVIEW,
    "multi_gpu": _STAND_ALONE,
    **dict.fromkeys(("metadata.name", "metadata.version", "metadata.author", "metadata.description"), _PRESET),
    "metadata.train_type": _PRESET,
    # other families
    **dict.fromkeys(
        (
            "apply_t5_attn_mask",
            "ae",
            "clip_l",
            "clip_g",
            "t5xxl",
            "t5xxl_max_token_length",
            "timestep_sampling",
            "sigmoid_scale",
            "model_prediction_type",
            "discrete_flow_shift",
            "training_shift",
            "guidance_scale",
            "weighting_scheme",
            "logit_mean",
            "logit_std",
            "mode_scale",
            "cfg_trunc",
            "gemma2",
            "renorm_cfg",
            "system_prompt",
            "train_t5xxl",
            "use_flash_attn",
        ),
        _FLOW,
    ),
}
