"""Command lines of other trainers for the same work on a GPU."""

from pathlib import Path

RANK = 8


def kohya(model: Path, kind: str, folder: Path, resolution: int, batch: int, precision: str) -> list[str]:
    """Program and arguments of sd-scripts, below its checkout."""
    values = {
        "pretrained_model_name_or_path": model,
        "tokenizer_cache_dir": folder / "tokenizers",
        "train_data_dir": folder / "pictures",
        "resolution": f"{resolution},{resolution}",
        "caption_extension": ".txt",
        "network_module": "networks.lora",
        "network_dim": RANK,
        "network_alpha": RANK,
        "learning_rate": 1e-4,
        "optimizer_type": "AdamW",
        "mixed_precision": precision,
        "train_batch_size": batch,
        "max_train_steps": 100000,
        "max_data_loader_n_workers": 0,
        "save_every_n_steps": 1000000,
        "seed": 1,
        "output_dir": folder / "kohya",
        "output_name": "cat",
    }
    flags = ["--sdpa", "--cache_latents", "--network_train_unet_only"]
    if kind == "sdxl":
        flags += ["--cache_text_encoder_outputs", "--no_half_vae"]
    program = "train_network.py" if kind == "sd15" else "sdxl_train_network.py"
    return [program, *(f"--{key}={value}" for key, value in values.items()), *flags]


def diffusers(model: Path, kind: str, folder: Path, resolution: int, batch: int, precision: str) -> list[str]:
    """Program and arguments of diffusers' example, below its checkout. It trains fewer layers."""
    values = {
        "pretrained_model_name_or_path": model,
        "train_data_dir": folder / "imagefolder",
        "caption_column": "text",
        "resolution": resolution,
        "rank": RANK,
        "learning_rate": 1e-4,
        "mixed_precision": precision,
        "train_batch_size": batch,
        "max_train_steps": 100000,
        "checkpointing_steps": 1000000,
        "seed": 1,
        "output_dir": folder / "diffusers",
    }
    name = "train_text_to_image_lora.py" if kind == "sd15" else "train_text_to_image_lora_sdxl.py"
    return [f"examples/text_to_image/{name}", *(f"--{key}={value}" for key, value in values.items())]
