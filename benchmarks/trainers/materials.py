"""Models and pictures for trainers to work on: a diffusers folder with random weights, and captioned pictures."""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


@dataclass(frozen=True)
class Size:
    """One size of model. All have SD 1.5's shape: four levels, two blocks each, eight heads."""

    channels: tuple[int, ...]
    text: int
    text_layers: int
    vae: tuple[int, ...]
    resolution: int
    turn: int
    """Steps of one turn; the first of them is not counted."""
    turns: int


SIZES = {
    "tiny": Size((32, 64, 64, 64), 64, 2, (32, 32, 32, 32), 64, turn=6, turns=12),
    "mid": Size((128, 256, 512, 512), 512, 8, (64, 128, 256, 256), 256, turn=3, turns=5),
}


def make(folder: Path, name: str, pictures: int) -> None:
    """Write model/, tokenizers/, pictures/ (N_name), imagefolder/ (metadata.jsonl) and cached.safetensors."""
    import torch
    from safetensors.torch import save_file

    size = SIZES[name]
    torch.manual_seed(0)
    _model(folder / "model", size)
    shutil.copytree(folder / "model/tokenizer", folder / "tokenizers" / "openai_clip-vit-large-patch14")
    side = size.resolution // 8
    save_file(
        {"latents": torch.randn(pictures, 4, side, side), "text": torch.randn(pictures, 77, size.text)},
        folder / "cached.safetensors",
    )
    _pictures(folder, size.resolution, pictures)


def _model(model: Path, size: Size) -> None:
    """Write a base model with random weights as a diffusers folder."""
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from tests.training import tiny

    unet = UNet2DConditionModel(
        sample_size=size.resolution // 8,
        block_out_channels=size.channels,
        cross_attention_dim=size.text,
        attention_head_dim=8,
    )
    levels = len(size.vae)
    vae = AutoencoderKL(
        block_out_channels=size.vae,
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        latent_channels=4,
        layers_per_block=2,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=tiny.VOCABULARY,
            hidden_size=size.text,
            intermediate_size=4 * size.text,
            num_hidden_layers=size.text_layers,
            num_attention_heads=size.text // 64,
            bos_token_id=tiny.VOCABULARY - 2,
            eos_token_id=tiny.VOCABULARY - 1,
        )
    )
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
    for part, what in (("unet", unet), ("vae", vae), ("text_encoder", text), ("scheduler", scheduler)):
        what.save_pretrained(model / part)
    tiny.tokenizer(model / "tokenizer")
    (model / "model_index.json").write_text(json.dumps(_index()))


def _index() -> dict[str, Any]:
    return {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDPMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }


def _pictures(folder: Path, resolution: int, count: int) -> None:
    from tests.training import tiny

    lines = []
    for number in range(count):
        file = tiny.picture(folder / "pictures" / "1_cat" / f"{number}.png", (resolution, resolution), number)
        caption = f"a cat, number {number}"
        file.with_suffix(".txt").write_text(caption)
        (folder / "imagefolder").mkdir(exist_ok=True)
        shutil.copy(file, folder / "imagefolder")
        lines.append(json.dumps({"file_name": file.name, "text": caption}))
    (folder / "imagefolder" / "metadata.jsonl").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
