"""Keys of kohya's sd-scripts with an equivalent in our config, one line each, and kohya's defaults.

Keys that depend on each other (network_module and network_args, datasets, sample pictures) are in network.py,
datasets.py, optimizer.py, output.py and steps.py; keys without an equivalent are in unhonoured.py.
"""

from dataclasses import dataclass
from typing import Any

from training.kohya import values
from training.kohya.values import Convert


@dataclass(frozen=True)
class Equivalent:
    """Our setting for a key, and the conversion of its value. None keeps our default."""

    path: str
    convert: Convert = values.as_is


EQUIVALENTS: dict[str, Equivalent] = {
    "output_name": Equivalent("name"),
    # base model
    "pretrained_model_name_or_path": Equivalent("model.checkpoint"),
    "vae": Equivalent("model.vae"),
    "fp8_base": Equivalent("model.storage", lambda v: "fp8" if values.switch(v) else None),
    "clip_skip": Equivalent("model.clip_skip", values.at_least_one),
    "max_token_length": Equivalent("model.max_token_length", values.token_length),
    "v_parameterization": Equivalent("model.prediction", lambda v: "v_prediction" if values.switch(v) else "epsilon"),
    # pictures
    "resolution": Equivalent("data.resolution"),
    "enable_bucket": Equivalent("data.buckets.enabled", values.switch),
    "min_bucket_reso": Equivalent("data.buckets.min_side", values.whole),
    "max_bucket_reso": Equivalent("data.buckets.max_side", values.whole),
    "bucket_reso_steps": Equivalent("data.buckets.step", values.bucket_step),
    "bucket_no_upscale": Equivalent("data.buckets.no_upscale", values.switch),
    "alpha_mask": Equivalent("data.alpha_mask", values.switch),
    "cache_latents": Equivalent("data.cache_latents", values.switch),
    "cache_text_encoder_outputs": Equivalent("data.cache_text", lambda v: True if values.switch(v) else "auto"),
    "vae_batch_size": Equivalent("data.vae_batch_size", values.at_least_one),
    "max_data_loader_n_workers": Equivalent("data.workers", values.whole),
    "color_aug": Equivalent("data.augment.color", values.switch),
    "flip_aug": Equivalent("data.augment.flip", values.switch),
    "random_crop": Equivalent("data.augment.random_crop", values.switch),
    # captions
    "caption_extension": Equivalent("data.captions.extensions", values.one_extension),
    "caption_extention": Equivalent("data.captions.extensions", values.one_extension),
    "enable_wildcard": Equivalent("data.captions.wildcards", values.switch),
    "shuffle_caption": Equivalent("data.captions.shuffle", values.switch),
    "caption_separator": Equivalent("data.captions.separator"),
    "keep_tokens": Equivalent("data.captions.keep_tokens", values.whole),
    "keep_tokens_separator": Equivalent("data.captions.keep_tokens_separator"),
    "caption_dropout_rate": Equivalent("data.captions.dropout", values.number),
    "caption_dropout_every_n_epochs": Equivalent("data.captions.dropout_every_epochs", values.whole),
    "caption_tag_dropout_rate": Equivalent("data.captions.tag_dropout", values.number),
    "caption_prefix": Equivalent("data.captions.prefix"),
    "caption_suffix": Equivalent("data.captions.suffix"),
    "weighted_captions": Equivalent("data.captions.weighted", values.switch),
    # network
    "network_dim": Equivalent("network.rank", values.whole),
    "network_alpha": Equivalent("network.alpha", values.number),
    "network_dropout": Equivalent("network.dropout", values.number),
    "network_weights": Equivalent("network.start_from"),
    "dim_from_weights": Equivalent("network.rank_from_start", values.switch),
    "network_train_unet_only": Equivalent("network.text_encoder", lambda v: not values.switch(v)),
    "network_train_text_encoder_only": Equivalent("network.unet", lambda v: not values.switch(v)),
    "scale_weight_norms": Equivalent("network.max_norm", values.positive),
    # objective
    "noise_offset": Equivalent("objective.noise_offset", values.number),
    "noise_offset_random_strength": Equivalent("objective.noise_offset_random", values.switch),
    "adaptive_noise_scale": Equivalent("objective.adaptive_noise_scale", values.number),
    "multires_noise_iterations": Equivalent("objective.multires_iterations", values.whole),
    "multires_noise_discount": Equivalent("objective.multires_discount", values.number),
    "ip_noise_gamma": Equivalent("objective.input_perturbation", values.number),
    "ip_noise_gamma_random_strength": Equivalent("objective.input_perturbation_random", values.switch),
    "min_snr_gamma": Equivalent("objective.min_snr_gamma", values.positive),
    "debiased_estimation_loss": Equivalent("objective.debiased_estimation", values.switch),
    "zero_terminal_snr": Equivalent("objective.zero_terminal_snr", values.switch),
    "scale_v_pred_loss_like_noise_pred": Equivalent("objective.scale_v_prediction", values.switch),
    "v_pred_like_loss": Equivalent("objective.v_prediction_like_loss", values.number),
    "loss_type": Equivalent("objective.loss"),
    "huber_schedule": Equivalent("objective.huber_schedule"),
    "huber_c": Equivalent("objective.huber_c", values.number),
    "huber_scale": Equivalent("objective.huber_scale", values.number),
    "min_timestep": Equivalent("objective.min_timestep", values.whole),
    "max_timestep": Equivalent("objective.max_timestep", values.whole),
    "prior_loss_weight": Equivalent("objective.prior_loss_weight", values.number),
    # optimiser and schedule
    "optimizer_type": Equivalent("optimizer.kind", values.optimizer),
    "learning_rate": Equivalent("optimizer.learning_rate", values.rate),
    "unet_lr": Equivalent("optimizer.unet_learning_rate", values.rate),
    "text_encoder_lr": Equivalent("optimizer.text_encoder_learning_rate", values.rate),
    "max_grad_norm": Equivalent("optimizer.max_grad_norm", values.number),
    "lr_scheduler": Equivalent("schedule.kind", values.schedule),
    "lr_warmup_steps": Equivalent("schedule.warmup_steps", values.share_or_steps),
    "lr_restart_cycles": Equivalent("schedule.cycles", values.at_least_one),
    "lr_scheduler_num_cycles": Equivalent("schedule.cycles", values.at_least_one),
    "lr_scheduler_power": Equivalent("schedule.power", values.number),
    "lr_decay_steps": Equivalent("schedule.decay_steps", values.share_or_steps),
    "lr_scheduler_min_lr_ratio": Equivalent("schedule.min_ratio", values.number),
    # length, batch, arithmetic
    "train_batch_size": Equivalent("train.batch_size", values.whole),
    "max_train_epochs": Equivalent("train.epochs", values.count),
    "gradient_accumulation_steps": Equivalent("train.accumulation", values.at_least_one),
    "gradient_checkpointing": Equivalent("train.gradient_checkpointing", values.switch),
    "seed": Equivalent("train.seed", values.whole),
    "mixed_precision": Equivalent("train.precision", values.precision),
    "torch_compile": Equivalent("train.compile", values.switch),
    # what is left behind
    "save_precision": Equivalent("save.precision", values.precision),
    "save_every_n_epochs": Equivalent("save.every_epochs", values.count),
    "save_every_n_steps": Equivalent("save.every_steps", values.count),
    "save_last_n_epochs": Equivalent("save.keep", values.count),
    "training_comment": Equivalent("save.comment"),
    "sample_sampler": Equivalent("sample.sampler", values.sampler),
    "validation_split": Equivalent("validation.share", values.number),
    "validate_every_n_steps": Equivalent("validation.every_steps", values.count),
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
