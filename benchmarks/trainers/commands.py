"""Configs and command lines of the trainers for the same work."""

from pathlib import Path

from benchmarks.trainers.materials import Size

RANK = 8


def ours(folder: Path, size: Size, train: str = "") -> str:
    """Our config; `train` is added to [train]."""
    more = f", {train}" if train else ""
    return f"""
name = "cat"
model = {{ checkpoint = "{folder}/model" }}
data = {{ folder = "{folder}/pictures", resolution = {size.resolution}, buckets = {{ enabled = false }} }}
network = {{ rank = {RANK}, alpha = {RANK} }}
train = {{ steps = 100000, seed = 1, device = "cpu"{more} }}
save = {{ checkpoint_every_steps = 100000 }}
schedule = {{ kind = "constant" }}
"""


def kohya(folder: Path, size: Size) -> list[str]:
    """Arguments of sd-scripts' train_network.py."""
    values = {
        "pretrained_model_name_or_path": folder / "model",
        "tokenizer_cache_dir": folder / "tokenizers",
        "train_data_dir": folder / "pictures",
        "resolution": size.resolution,
        "caption_extension": ".txt",
        "network_module": "networks.lora",
        "network_dim": RANK,
        "network_alpha": RANK,
        "learning_rate": 1e-4,
        "optimizer_type": "AdamW",
        "mixed_precision": "no",
        "max_train_steps": 100000,
        "max_data_loader_n_workers": 0,
        "seed": 1,
        "output_dir": folder / "kohya",
        "output_name": "cat",
    }
    flags = ["--sdpa", "--cache_latents", "--network_train_unet_only"]
    return [*(f"--{key}={value}" for key, value in values.items()), *flags]


def diffusers(folder: Path, size: Size) -> list[str]:
    """Arguments of diffusers' train_text_to_image_lora.py."""
    values = {
        "pretrained_model_name_or_path": folder / "model",
        "train_data_dir": folder / "imagefolder",
        "caption_column": "text",
        "resolution": size.resolution,
        "rank": RANK,
        "learning_rate": 1e-4,
        "mixed_precision": "no",
        "train_batch_size": 1,
        "max_train_steps": 100000,
        "checkpointing_steps": 100000,
        "seed": 1,
        "output_dir": folder / "diffusers",
    }
    return [f"--{key}={value}" for key, value in values.items()]
