"""Models of the real shapes with random weights, and pictures for the benchmark.

python models.py FOLDER sd15|sdxl [tiny]
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

PICTURES = 12
UNETS: dict[str, dict[str, Any]] = {
    "sd15": {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    "sdxl": {
        "sample_size": 128,
        "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20],
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": [1, 2, 10],
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
        "use_linear_projection": True,
    },
}
SMALL: dict[str, dict[str, Any]] = {
    "sd15": {
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 64,
    },
    "sdxl": {
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "attention_head_dim": [1, 2],
        "transformer_layers_per_block": [1, 1],
        "cross_attention_dim": 128,
        "projection_class_embeddings_input_dim": 6 * 256 + 64,
    },
}
"""Sizes of the small models of --tiny."""


def make(folder: Path, kind: str, *, tiny: bool) -> None:
    """Write a diffusers folder in fp16 and, beside it, tokenizers/, pictures/ (N_name) and imagefolder/."""
    import torch
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        _save(UNet2DConditionModel(**UNETS[kind] | (SMALL[kind] if tiny else {})), folder / "unet")
        levels = 4
        vae = AutoencoderKL(
            block_out_channels=[32] * levels if tiny else [128, 256, 512, 512],
            down_block_types=["DownEncoderBlock2D"] * levels,
            up_block_types=["UpDecoderBlock2D"] * levels,
            latent_channels=4,
            layers_per_block=1 if tiny else 2,
            scaling_factor=0.18215 if kind == "sd15" else 0.13025,
        )
        _save(vae, folder / "vae")
        _text_encoders(folder, kind, tiny=tiny)
    scheduler = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    scheduler.save_pretrained(folder / "scheduler")
    _tokenizers(folder, kind)
    (folder / "model_index.json").write_text(json.dumps(_index(kind)))


def pictures(folder: Path, resolution: int) -> None:
    """Captioned pictures, in the layouts of sd-scripts (and ours) and of diffusers' example."""
    from tests.training.tiny import picture

    lines = []
    (folder / "imagefolder").mkdir(parents=True, exist_ok=True)
    for number in range(PICTURES):
        file = picture(folder / "pictures" / "10_cat" / f"{number}.png", (resolution, resolution), number)
        caption = f"a cat, number {number}"
        file.with_suffix(".txt").write_text(caption)
        shutil.copy(file, folder / "imagefolder")
        lines.append(json.dumps({"file_name": file.name, "text": caption}))
    (folder / "imagefolder" / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def _text_encoders(folder: Path, kind: str, *, tiny: bool) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from tests.training.tiny import VOCABULARY

    def config(width: int, layers: int, act: str) -> CLIPTextConfig:
        # The vocabulary has its real size; the end tokens are those of the small tokenizer.
        return CLIPTextConfig(
            vocab_size=49408,
            hidden_size=64 if tiny else width,
            intermediate_size=128 if tiny else 4 * width,
            num_hidden_layers=2 if tiny else layers,
            num_attention_heads=1 if tiny else width // 64,
            projection_dim=64 if tiny else width,
            hidden_act=act,
            bos_token_id=VOCABULARY - 2,
            eos_token_id=VOCABULARY - 1,
        )

    _save(CLIPTextModel(config(768, 12, "quick_gelu")), folder / "text_encoder")
    if kind == "sdxl":
        _save(CLIPTextModelWithProjection(config(1280, 32, "gelu")), folder / "text_encoder_2")


def _save(model: Any, folder: Path) -> None:
    import torch

    model.to(torch.float16).save_pretrained(folder)


def _tokenizers(folder: Path, kind: str) -> None:
    from tests.training.tiny import tokenizer

    tokenizer(folder / "tokenizer")
    if kind == "sdxl":
        shutil.copytree(folder / "tokenizer", folder / "tokenizer_2")
    # Where sd-scripts looks for them offline.
    for name in ("openai_clip-vit-large-patch14", "laion_CLIP-ViT-bigG-14-laion2B-39B-b160k"):
        shutil.copytree(folder / "tokenizer", folder.parent / "tokenizers" / name, dirs_exist_ok=True)


def _index(kind: str) -> dict[str, Any]:
    parts = {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDPMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    }
    if kind == "sdxl":
        second = {
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer_2": ["transformers", "CLIPTokenizer"],
        }
        return {"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": True, **parts, **second}
    none = {"safety_checker": [None, None], "feature_extractor": [None, None], "image_encoder": [None, None]}
    return {"_class_name": "StableDiffusionPipeline", "requires_safety_checker": False, **parts, **none}


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2], tiny="tiny" in sys.argv[3:])
