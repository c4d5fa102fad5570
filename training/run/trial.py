"""Twenty steps of a small fixed run: an update has two trainers of one host do them, and compares.

The base model has random weights, and its vocabulary single characters only: nothing is downloaded. A trainer that is
to be compared reads what the other one wrote, so the config has only settings that every trainer knows.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STEPS = 20
PICTURES = 4
WIDTH = 64
LETTERS = [chr(code) for code in range(33, 127)]
START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = ["<pad>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS), START, END]
"""CLIP's tokens, without the merged ones."""


def write_trial(folder: Path) -> None:
    """Write base model, pictures and config.toml into an empty folder."""
    import tomlkit

    _write_base(folder / "base")
    _write_pictures(folder / "pictures")
    (folder / "config.toml").write_text(tomlkit.dumps(tables(folder)))


def tables(folder: Path) -> Mapping[str, Any]:
    """The config of the run."""
    return {
        "name": "trial",
        "model": {"checkpoint": str(folder / "base")},
        "data": {
            "subsets": [{"folder": str(folder / "pictures")}],
            "resolution": 128,
            "buckets": {"enabled": False},
        },
        "network": {"rank": 4, "alpha": 4.0},
        "optimizer": {"learning_rate": 1e-3},
        "train": {"steps": STEPS, "batch_size": 2, "seed": 1},
    }


def _write_base(folder: Path) -> None:
    """A diffusers folder in the shape of Stable Diffusion 1."""
    import torch
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers.models.clip.configuration_clip import CLIPTextConfig
    from transformers.models.clip.modeling_clip import CLIPTextModel

    torch.manual_seed(1)
    shape: dict[str, Any] = {
        "block_out_channels": [WIDTH, 2 * WIDTH],
        "layers_per_block": 1,
        "cross_attention_dim": WIDTH,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "attention_head_dim": 8,
    }
    UNet2DConditionModel(**shape).save_pretrained(folder / "unet")
    levels = 4
    AutoencoderKL(
        block_out_channels=[WIDTH // 2] * levels,
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        latent_channels=4,
        layers_per_block=1,
    ).save_pretrained(folder / "vae")
    text = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=1,
        bos_token_id=WORDS.index(START),
        eos_token_id=WORDS.index(END),
        projection_dim=WIDTH,
        hidden_act="quick_gelu",
    )
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    _write_tokenizer(folder / "tokenizer")


def _write_tokenizer(folder: Path) -> None:
    folder.mkdir()
    marks = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **marks}
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(WORDS)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def _write_pictures(folder: Path) -> None:
    """Smooth colours, each picture others, with captions."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    for number in range(PICTURES):
        coarse = np.random.default_rng(number).integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((128, 128), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a picture, number {number}")


def main() -> None:
    """Write it into the folder of the command line."""
    write_trial(Path(sys.argv[1]).resolve())
