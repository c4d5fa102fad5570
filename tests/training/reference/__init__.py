"""The small models, pictures and settings for which kohya's numbers were recorded; see README.md beside this file.

Weights depend on nothing but tensors' names and shapes, so that the recorded numbers stay valid.
"""

import hashlib
import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.training import tiny

FOLDER = Path(__file__).parent
STEPS = 20
FAMILIES = {"sd1": tiny.sd1, "sd2": tiny.sd2, "sdxl": tiny.sdxl}
SETTINGS: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "sd1": ("sd1", {}),
    "text_encoder": (
        "sd1",
        {"network": {"text_encoder": True}, "optimizer": {"text_encoder_learning_rate": 5e-4}},
    ),
    "clip_skip_2": ("sd1", {"model": {"clip_skip": 2}}),
    "min_snr_5": ("sd1", {"objective": {"min_snr_gamma": 5.0}}),
    "noise_offset": ("sd1", {"objective": {"noise_offset": 0.1}}),
    "v_prediction": ("sd2", {"model": {"prediction": "v_prediction"}}),
    "locon": ("sd1", {"network": {"kind": "locon", "conv_rank": 3, "conv_alpha": 1.5}}),
    "sdxl": ("sdxl", {}),
}
"""Family and tables of our config by name; kohya's options for each stand in README.md."""


def make_materials(folder: Path) -> Path:
    """Checkpoints, tokenizer and captioned pictures, as they were when kohya's numbers were recorded."""
    for family, make in FAMILIES.items():
        file = make(folder / f"{family}.safetensors")
        save_file({name: _filled(name, value) for name, value in load_file(file).items()}, file)
    tiny.tokenizer(folder / "tokenizer")
    for index, size in enumerate([(80, 72), (120, 64), (64, 120)] * 2):
        picture = tiny.picture(folder / "pictures" / "2_cat" / f"{index}.png", size, seed=index)
        picture.with_suffix(".txt").write_text(f"a cat, number {index}, grass")
    return folder


def tables(materials: Path, setting: str) -> dict[str, Any]:
    """The tables of our config for one setting."""
    family, own = SETTINGS[setting]
    found: dict[str, dict[str, Any]] = {
        "model": {"checkpoint": str(materials / f"{family}.safetensors"), "tokenizer": str(materials / "tokenizer")},
        "data": {
            "folder": str(materials / "pictures"),
            "resolution": 64,
            "buckets": {"min_side": 64, "max_side": 96, "step": 16},
        },
        "network": {"rank": 2, "alpha": 1.0},
        "optimizer": {"learning_rate": 1e-3},
        "train": {"steps": STEPS, "batch_size": 2, "device": "cpu", "seed": 42},
        "save": {"precision": "fp32"},
    }
    return {"name": setting} | {name: {**found.get(name, {}), **own.get(name, {})} for name in {**found, **own}}


def projections(tensors: dict[str, Tensor]) -> list[float]:
    """Each tensor (in name order) as one number: its product with a fixed random direction.

    The squares of two files' differences add up to what their weights' squared differences are expected to be.
    """
    return [
        float((tensors[name].double().flatten() * _normal("projection", name, tensors[name].numel()).double()).sum())
        for name in sorted(tensors)
    ]


def defined(name: str) -> bool:
    """Whether a trained tensor's value is defined beyond the rounding of fp32.

    The time embedding of a block as wide as its norm has groups is taken out again by that norm: its gradient is
    zero, and AdamW makes fp32's rounding errors of it into steps of full size.
    """
    return "_time_emb_proj.lora_" not in name


def _filled(name: str, value: Tensor) -> Tensor:
    values = _normal("weights", name, value.numel()).view(value.shape)
    if value.dim() >= 2:
        return values / math.sqrt(value[0].numel())
    return 1.0 + 0.1 * values if name.endswith("weight") else 0.05 * values


def _normal(purpose: str, name: str, count: int) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(f"{purpose}/{name}".encode()).digest()[:4])
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))
