"""The keys of kohya's sd-scripts that our config has a place for, one line each, and what kohya does without them.

Keys that only make sense together (network_module and network_args, datasets, sample pictures) are in steps.py,
network.py and datasets.py; keys without a place are in unhonoured.py.
"""

from dataclasses import dataclass
from typing import Any

from training.kohya import values
from training.kohya.values import Convert


@dataclass(frozen=True)
class Place:
    """Where a key goes, and how its value is converted. A value of None leaves our setting alone."""

    path: str
    convert: Convert = values.as_is


PLACES: dict[str, Place] = {
    "output_name": Place("name"),
    # base model
    "pretrained_model_name_or_path": Place("model.checkpoint"),
    "vae": Place("model.vae"),
    "fp8_base": Place("model.storage", lambda v: "fp8" if values.flag(v) else None),
    "clip_skip": Place("model.clip_skip", values.at_least_one),
    "max_token_length": Place("model.max_token_length", values.token_length),
    "v_parameterization": Place("model.prediction", lambda v: "v_prediction" if values.flag(v) else "epsilon"),
    # pictures
    "resolution": Place("data.resolution"),
    "enable_bucket": Place("data.buckets.enabled", values.flag),
    "min_bucket_reso": Place("data.buckets.min_side", values.whole),
    "max_bucket_reso": Place("data.buckets.max_side", values.whole),
    "bucket_reso_steps": Place("data.buckets.step", values.bucket_step),
    "bucket_no_upscale": Place("data.buckets.no_upscale", values.flag),
    "alpha_mask": Place("data.alpha_mask", values.flag),
    "cache_latents": Place("data.cache_latents", values.flag),
    "cache_text_encoder_outputs": Place("data.cache_text", lambda v: True if values.flag(v) else "auto"),
    "vae_batch_size": Place("data.vae_batch_size", values.at_least_one),
    "max_data_loader_n_workers": Place("data.workers", values.whole),
    "color_aug": Place("data.augment.color", values.flag),
    "flip_aug": Place("data.augment.flip", values.flag),
    "random_crop": Place("data.augment.random_crop", values.flag),
    # captions
    "caption_extension": Place("data.captions.extensions", values.one_extension),
    "caption_extention": Place("data.captions.extensions", values.one_extension),
    "enable_wildcard": Place("data.captions.wildcards", values.flag),
    "shuffle_caption": Place("data.captions.shuffle", values.flag),
    "caption_separator": Place("data.captions.separator"),
    "keep_tokens": Place("data.captions.keep_tokens", values.whole),
    "keep_tokens_separator": Place("data.captions.keep_tokens_separator"),
    "caption_dropout_rate": Place("data.captions.dropout", values.number),
    "caption_dropout_every_n_epochs": Place("data.captions.dropout_every_epochs", values.whole),
    "caption_tag_dropout_rate": Place("data.captions.tag_dropout", values.number),
    "caption_prefix": Place("data.captions.prefix"),
    "caption_suffix": Place("data.captions.suffix"),
    "weighted_captions": Place("data.captions.weighted", values.flag),
    # network
    "network_dim": Place("network.rank", values.whole),
    "network_alpha": Place("network.alpha", values.number),
    "network_dropout": Place("network.dropout", values.number),
    "network_weights": Place("network.start_from"),
    "dim_from_weights": Place("network.rank_from_start", values.flag),
    "network_train_unet_only": Place("network.text_encoder", lambda v: not values.flag(v)),
    "network_train_text_encoder_only": Place("network.unet", lambda v: not values.flag(v)),
    "scale_weight_norms": Place("network.max_norm", values.positive),
    # objective
    "noise_offset": Place("objective.noise_offset", values.number),
    "noise_offset_random_strength": Place("objective.noise_offset_random", values.flag),
    "adaptive_noise_scale": Place("objective.adaptive_noise_scale", values.number),
    "multires_noise_iterations": Place("objective.multires_iterations", values.whole),
    "multires_noise_discount": Place("objective.multires_discount", values.number),
    "ip_noise_gamma": Place("objective.input_perturbation", values.number),
    "ip_noise_gamma_random_strength": Place("objective.input_perturbation_random", values.flag),
    "min_snr_gamma": Place("objective.min_snr_gamma", values.positive),
    "debiased_estimation_loss": Place("objective.debiased_estimation", values.flag),
    "zero_terminal_snr": Place("objective.zero_terminal_snr", values.flag),
    "scale_v_pred_loss_like_noise_pred": Place("objective.scale_v_prediction", values.flag),
    "v_pred_like_loss": Place("objective.v_prediction_like_loss", values.number),
    "loss_type": Place("objective.loss"),
    "huber_schedule": Place("objective.huber_schedule"),
    "huber_c": Place("objective.huber_c", values.number),
    "huber_scale": Place("objective.huber_scale", values.number),
    "min_timestep": Place("objective.min_timestep", values.whole),
    "max_timestep": Place("objective.max_timestep", values.whole),
    "prior_loss_weight": Place("objective.prior_loss_weight", values.number),
    # optimiser and schedule
    "optimizer_type": Place("optimizer.kind", values.optimizer),
    "learning_rate": Place("optimizer.learning_rate", values.rate),
    "unet_lr": Place("optimizer.unet_learning_rate", values.rate),
    "text_encoder_lr": Place("optimizer.text_encoder_learning_rate", values.rate),
    "max_grad_norm": Place("optimizer.max_grad_norm", values.number),
    "lr_scheduler": Place("schedule.kind", values.schedule),
    "lr_warmup_steps": Place("schedule.warmup_steps", values.share_or_steps),
    "lr_restart_cycles": Place("schedule.cycles", values.at_least_one),
    "lr_scheduler_num_cycles": Place("schedule.cycles", values.at_least_one),
    "lr_scheduler_power": Place("schedule.power", values.number),
    "lr_decay_steps": Place("schedule.decay_steps", values.share_or_steps),
    "lr_scheduler_min_lr_ratio": Place("schedule.min_ratio", values.number),
    # length, batch, arithmetic
    "train_batch_size": Place("train.batch_size", values.whole),
    "max_train_epochs": Place("train.epochs", values.count),
    "gradient_accumulation_steps": Place("train.accumulation", values.at_least_one),
    "gradient_checkpointing": Place("train.gradient_checkpointing", values.flag),
    "seed": Place("train.seed", values.whole),
    "mixed_precision": Place("train.precision", values.precision),
    "torch_compile": Place("train.compile", values.flag),
    # what is left behind
    "save_precision": Place("save.precision", values.precision),
    "save_every_n_epochs": Place("save.every_epochs", values.count),
    "save_every_n_steps": Place("save.every_steps", values.count),
    "save_last_n_epochs": Place("save.keep", values.count),
    "training_comment": Place("save.comment"),
    "sample_sampler": Place("sample.sampler", values.sampler),
    "validation_split": Place("validation.share", values.number),
    "validate_every_n_steps": Place("validation.every_steps", values.count),
}

WITHOUT: dict[str, Any] = {
    "name": "last",
    "model.prediction": "epsilon",
    "data.buckets.enabled": False,
    "data.captions.extensions": (".caption",),
    "data.captions.lines": "first",
    "data.cache_latents": False,
    "network.rank": 4,
    "network.alpha": 1.0,
    "network.text_encoder": True,
    "optimizer.learning_rate": 2e-6,
    "schedule.kind": "constant",
    "train.attention": "plain",
    "train.precision": "fp32",
    "save.precision": "fp32",
}
"""What kohya does when a key is missing, where that differs from our defaults."""
