"""Keys of kohya's sd-scripts with an equivalent in our config, one line each, and kohya's defaults.

Keys that depend on each other (network_module and network_args, datasets, sample pictures) are in network.py,
datasets.py, optimizer.py, output.py and steps.py; keys without an equivalent are in unhonoured.py.
"""

from dataclasses import dataclass
from typing import Any

from training.kohya import values
from training.kohya.values import Convert


@dataclass(frozen=True)
class Field:
    """Our setting for a key, and the conversion of its value. None keeps our default."""

    path: str
    convert: Convert = values.as_is


FIELD_MAP: dict[str, Field] = {
    "output_name": Field("name"),
    # base model
    "pretrained_model_name_or_path": Field("model.checkpoint"),
    "vae": Field("model.vae"),
    "fp8_base": Field("model.storage", lambda v: "fp8" if values.switch(v) else None),
    "clip_skip": Field("model.clip_skip", values.at_least_one),
    "max_token_length": Field("model.max_token_length", values.token_length),
    "v_parameterization": Field("model.prediction", lambda v: "v_prediction" if values.switch(v) else "epsilon"),
    # pictures
    "resolution": Field("data.resolution"),
    "enable_bucket": Field("data.buckets.enabled", values.switch),
    "min_bucket_reso": Field("data.buckets.min_side", values.whole),
    "max_bucket_reso": Field("data.buckets.max_side", values.whole),
    "bucket_reso_steps": Field("data.buckets.step", values.bucket_step),
    "bucket_no_upscale": Field("data.buckets.no_upscale", values.switch),
    "alpha_mask": Field("data.alpha_mask", values.switch),
    "cache_latents": Field("data.cache_latents", values.switch),
    "cache_text_encoder_outputs": Field("data.cache_text", lambda v: True if values.switch(v) else "auto"),
    "vae_batch_size": Field("data.vae_batch_size", values.at_least_one),
    "max_data_loader_n_workers": Field("data.workers", values.whole),
    "color_aug": Field("data.augment.color", values.switch),
    "flip_aug": Field("data.augment.flip", values.switch),
    "random_crop": Field("data.augment.random_crop", values.switch),
    # captions
    "caption_extension": Field("data.captions.extensions", values.one_extension),
    "caption_extention": Field("data.captions.extensions", values.one_extension),
    "enable_wildcard": Field("data.captions.wildcards", values.switch),
    "shuffle_caption": Field("data.captions.shuffle", values.switch),
    "caption_separator": Field("data.captions.separator"),
    "keep_tokens": Field("data.captions.keep_tokens", values.whole),
    "keep_tokens_separator": Field("data.captions.keep_tokens_separator"),
    "caption_dropout_rate": Field("data.captions.dropout", values.number),
    "caption_dropout_every_n_epochs": Field("data.captions.dropout_every_epochs", values.whole),
    "caption_tag_dropout_rate": Field("data.captions.tag_dropout", values.number),
    "caption_prefix": Field("data.captions.prefix"),
    "caption_suffix": Field("data.captions.suffix"),
    "weighted_captions": Field("data.captions.weighted", values.switch),
    # network
    "network_dim": Field("network.rank", values.whole),
    "network_alpha": Field("network.alpha", values.number),
    "network_dropout": Field("network.dropout", values.number),
    "network_weights": Field("network.start_from"),
    "dim_from_weights": Field("network.rank_from_start", values.switch),
    "network_train_unet_only": Field("network.text_encoder", lambda v: not values.switch(v)),
    "network_train_text_encoder_only": Field("network.unet", lambda v: not values.switch(v)),
    "scale_weight_norms": Field("network.max_norm", values.positive),
    # objective
    "noise_offset": Field("objective.noise_offset", values.number),
    "noise_offset_random_strength": Field("objective.noise_offset_random", values.switch),
    "adaptive_noise_scale": Field("objective.adaptive_noise_scale", values.number),
    "multires_noise_iterations": Field("objective.multires_iterations", values.whole),
    "multires_noise_discount": Field("objective.multires_discount", values.number),
    "ip_noise_gamma": Field("objective.input_perturbation", values.number),
    "ip_noise_gamma_random_strength": Field("objective.input_perturbation_random", values.switch),
    "min_snr_gamma": Field("objective.min_snr_gamma", values.positive),
    "debiased_estimation_loss": Field("objective.debiased_estimation", values.switch),
    "zero_terminal_snr": Field("objective.zero_terminal_snr", values.switch),
    "scale_v_pred_loss_like_noise_pred": Field("objective.scale_v_prediction", values.switch),
    "v_pred_like_loss": Field("objective.v_prediction_like_loss", values.number),
    "loss_type": Field("objective.loss"),
    "huber_schedule": Field("objective.huber_schedule"),
    "huber_c": Field("objective.huber_c", values.number),
    "huber_scale": Field("objective.huber_scale", values.number),
    "min_timestep": Field("objective.min_timestep", values.whole),
    "max_timestep": Field("objective.max_timestep", values.whole),
    "prior_loss_weight": Field("objective.prior_loss_weight", values.number),
    # optimiser and schedule
    "optimizer_type": Field("optimizer.kind", values.optimizer),
    "learning_rate": Field("optimizer.learning_rate", values.rate),
    "unet_lr": Field("optimizer.unet_learning_rate", values.rate),
    "text_encoder_lr": Field("optimizer.text_encoder_learning_rate", values.rate),
    "max_grad_norm": Field("optimizer.max_grad_norm", values.number),
    "lr_scheduler": Field("schedule.kind", values.schedule),
    "lr_warmup_steps": Field("schedule.warmup_steps", values.share_or_steps),
    "lr_restart_cycles": Field("schedule.cycles", values.at_least_one),
    "lr_scheduler_num_cycles": Field("schedule.cycles", values.at_least_one),
    "lr_scheduler_power": Field("schedule.power", values.number),
    "lr_decay_steps": Field("schedule.decay_steps", values.share_or_steps),
    "lr_scheduler_min_lr_ratio": Field("schedule.min_ratio", values.number),
    # length, batch, arithmetic
    "train_batch_size": Field("train.batch_size", values.whole),
    "max_train_epochs": Field("train.epochs", values.count),
    "gradient_accumulation_steps": Field("train.accumulation", values.at_least_one),
    "gradient_checkpointing": Field("train.gradient_checkpointing", values.switch),
    "seed": Field("train.seed", values.whole),
    "mixed_precision": Field("train.precision", values.precision),
    "torch_compile": Field("train.compile", values.switch),
    # what is left behind
    "save_precision": Field("save.precision", values.precision),
    "save_every_n_epochs": Field("save.every_epochs", values.count),
    "save_every_n_steps": Field("save.every_steps", values.count),
    "save_last_n_epochs": Field("save.keep", values.count),
    "training_comment": Field("save.comment"),
    "sample_sampler": Field("sample.sampler", values.sampler),
    "validation_split": Field("validation.share", values.number),
    "validate_every_n_steps": Field("validation.every_steps", values.count),
}

KOHYA_DEFAULTS: dict[str, Any] = {
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
"""kohya's defaults where they differ from ours."""
