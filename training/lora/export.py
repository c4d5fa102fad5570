"""Writes the LoRA file of a run with its metadata.

Times and random ids are left out (the run's record has them), so that equal runs give equal files.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from training.base.loading import BaseModel
from training.config import Config
from training.data.pictures import Picture
from training.errors import TrainingError
from training.lora import lorafile, metadata, validity
from training.lora.network import Network
from training.sections.data import Data
from training.sections.model import Family
from training.sections.network import Network as Settings

MODULES = {"lora": "networks.lora", "locon": "networks.lora", "dora": "networks.lora"}
"""ss_network_module by kind; the others are LyCORIS's."""


def export_lora(path: Path, values: dict[str, Tensor], notes: dict[str, str], precision: str) -> str:
    """Write a LoRA file of the weights `values`; returns its sha256.

    Raises TrainingError if a weight is not finite in `precision`, or if the file cannot be written.
    """
    on_file = lorafile.cast_tensors(values, lorafile.DTYPES[precision])
    bad = next((name for name, value in on_file.items() if not torch.isfinite(value).all()), None)
    if bad:
        raise TrainingError(
            f"{path}: not written, the weights are not finite in {precision} (first: {bad}); "
            f"the last checkpoint is kept. {_advice(values, precision)}"
        )
    return lorafile.write_lora(path, on_file, notes, validity.check_written)


def _advice(values: dict[str, Tensor], precision: str) -> str:
    """What helps: another number format if the weights themselves are finite, else other training settings."""
    if all(torch.isfinite(value).all() for value in values.values()):
        return f'They are too large for {precision}: set save.precision = "bf16" or "fp32"'
    return 'Training itself made them so: try a lower optimizer.learning_rate, or train.precision = "bf16" or "fp32"'


def lora_metadata(
    config: Config, base: BaseModel, pictures: Sequence[Picture], digest: str, steps: int, per_epoch: int
) -> dict[str, str]:
    """The metadata of a file made after `steps` optimiser steps; `digest` is the checkpoint's sha256."""
    network = config.network
    spec = metadata.ModelSpec(
        family=base.family,
        title=config.name,
        v_prediction=base.v_prediction,
        resolution=config.data.resolution,
        encoder_layer=str(config.model.clip_skip) if base.family != "sdxl" else None,
    )
    return {
        **metadata.minimum(base.family, base.v_prediction, _module(network), _rank(network), _alpha(network)),
        **metadata.ss_entries(_model_and_network(config, base.family, digest)),
        **metadata.ss_entries(_training(config, pictures, steps, per_epoch)),
        **metadata.ss_entries(_data(config.data, pictures)),
        **spec.entries(),
    }


def _module(network: Settings) -> str:
    return MODULES.get(network.kind, "lycoris.kohya")


def _rank(network: Settings) -> object:
    return "Dynamic" if network.ranks else network.rank


def _alpha(network: Settings) -> object:
    return "Dynamic" if network.alphas else network.alpha


def _model_and_network(config: Config, family: Family, digest: str) -> dict[str, object]:
    model, network = config.model, config.network
    args: dict[str, str] = {}
    if network.conv:
        args |= {"conv_dim": str(network.conv), "conv_alpha": str(network.conv_alpha or network.alpha)}
    if network.kind in ("loha", "lokr"):
        args["algo"] = network.kind
    if network.kind == "dora":
        args["dora_wd"] = "True"
    return {
        "output_name": config.name,
        "sd_model_name": model.checkpoint.name,
        "new_sd_model_hash": digest,
        "vae_name": model.vae.name if model.vae else None,
        "clip_skip": model.clip_skip if model.clip_skip > 1 and model.clip_skip_counts(family) else None,
        "max_token_length": model.max_token_length if model.max_token_length > 75 else None,
        "network_args": args,
        "network_dropout": network.dropout or None,
        "scale_weight_norms": network.max_norm,
        "training_comment": config.save.comment,
    }


def _training(config: Config, pictures: Sequence[Picture], steps: int, per_epoch: int) -> dict[str, object]:
    train, optimizer, objective = config.train, config.optimizer, config.objective
    return {
        "learning_rate": optimizer.learning_rate,
        "unet_lr": optimizer.unet_learning_rate if config.network.unet else None,
        "text_encoder_lr": optimizer.text_encoder_learning_rate if config.network.text_encoder else None,
        "optimizer": optimizer.kind + "".join(f",{key}={value}" for key, value in sorted(optimizer.args.items())),
        "lr_scheduler": config.schedule.kind,
        "lr_warmup_steps": config.schedule.warmup_steps,
        "max_grad_norm": optimizer.max_grad_norm,
        "steps": steps,
        "epoch": -(-steps * train.accumulation // per_epoch),
        "num_train_images": sum(p.repeats for p in pictures if not p.subset.regularisation),
        "num_reg_images": sum(p.repeats for p in pictures if p.subset.regularisation),
        "num_batches_per_epoch": per_epoch,
        "batch_size_per_device": train.batch_size,
        "total_batch_size": train.batch_size,
        "gradient_accumulation_steps": train.accumulation,
        "gradient_checkpointing": train.gradient_checkpointing,
        "mixed_precision": {"fp32": "no"}.get(train.precision, train.precision),
        "seed": train.seed,
        "noise_offset": objective.noise_offset or None,
        "adaptive_noise_scale": objective.adaptive_noise_scale or None,
        "multires_noise_iterations": objective.multires_iterations or None,
        "multires_noise_discount": objective.multires_discount,
        "ip_noise_gamma": objective.input_perturbation or None,
        "min_snr_gamma": objective.min_snr_gamma,
        "debiased_estimation": objective.debiased_estimation,
        "zero_terminal_snr": objective.zero_terminal_snr,
        "loss_type": objective.loss,
        "huber_schedule": objective.huber_schedule,
        "huber_c": objective.huber_c,
        "prior_loss_weight": objective.prior_loss_weight,
    }


def _data(data: Data, pictures: Sequence[Picture]) -> dict[str, object]:
    buckets = data.buckets
    sizes = Counter({picture.fit.size: 0 for picture in pictures})
    tags: dict[str, Counter[str]] = {}
    folders: dict[bool, dict[str, dict[str, int]]] = {False: {}, True: {}}
    for picture in pictures:
        sizes[picture.fit.size] += picture.repeats
        folder = picture.subset.folder.name
        entry = folders[picture.subset.regularisation].setdefault(
            folder, {"n_repeats": picture.subset.repeats, "img_count": 0}
        )
        entry["img_count"] += 1
        if not picture.subset.regularisation:
            parts = (part.strip() for part in picture.caption.split(picture.subset.captions.separator))
            tags.setdefault(folder, Counter()).update(part for part in parts if part)
    return {
        "resolution": f"({data.resolution[0]}, {data.resolution[1]})",
        "enable_bucket": buckets.enabled,
        "bucket_no_upscale": buckets.no_upscale,
        "min_bucket_reso": buckets.min_side,
        "max_bucket_reso": buckets.max_side,
        "bucket_info": {
            "buckets": {str(i): {"resolution": size, "count": sizes[size]} for i, size in enumerate(sorted(sizes))}
        },
        "shuffle_caption": data.captions.shuffle,
        "keep_tokens": data.captions.keep_tokens,
        "caption_dropout_rate": data.captions.dropout,
        "caption_dropout_every_n_epochs": data.captions.dropout_every_epochs,
        "caption_tag_dropout_rate": data.captions.tag_dropout,
        "flip_aug": data.augment.flip,
        "color_aug": data.augment.color,
        "random_crop": data.augment.random_crop,
        "dataset_dirs": folders[False],
        "reg_dataset_dirs": folders[True],
        "tag_frequency": {folder: dict(count) for folder, count in tags.items()},
    }


def network_summary(network: Network) -> str:
    """One line on the network's size."""
    count = sum(parameter.numel() for _, parameter in network.named())
    ranks = sorted({layer.rank for layer in network.layers})
    return f"{len(network.layers)} layers, rank {'/'.join(map(str, ranks))}, {count:,} weights"
