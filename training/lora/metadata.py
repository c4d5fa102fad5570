"""Metadata of LoRA files: kohya's ss_* keys and Stability's modelspec.*."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from training.sections.model import Family

ARCHITECTURES: dict[tuple[Family, bool], str] = {
    ("sd1", False): "stable-diffusion-v1",
    ("sd1", True): "stable-diffusion-v1",
    ("sd2", False): "stable-diffusion-v2-512",
    ("sd2", True): "stable-diffusion-v2-768-v",
    ("sdxl", False): "stable-diffusion-xl-v1-base",
    ("sdxl", True): "stable-diffusion-xl-v1-base",
}
"""modelspec.architecture by family and v-prediction."""

BASE_VERSIONS: dict[tuple[Family, bool], str] = {
    ("sd1", False): "sd_v1",
    ("sd1", True): "sd_v1_v",
    ("sd2", False): "sd_v2",
    ("sd2", True): "sd_v2_v",
    ("sdxl", False): "sdxl_base_v1-0",
    ("sdxl", True): "sdxl_base_v1-0",
}
"""ss_base_model_version by family and v-prediction."""

NOMINAL_RESOLUTION: dict[Family, int] = {"sd1": 512, "sd2": 768, "sdxl": 1024}

MINIMUM = (
    "ss_v2",
    "ss_base_model_version",
    "ss_network_module",
    "ss_network_dim",
    "ss_network_alpha",
    "ss_network_args",
)
"""Keys that other programs need to load the file."""


@dataclass(frozen=True)
class ModelSpec:
    """Metadata by Stability's model spec 1.0.1; unset fields are left out.

    There is no date by default: the same training must give the same file.
    """

    family: Family
    title: str
    v_prediction: bool = False
    resolution: tuple[int, int] | None = None
    description: str | None = None
    author: str | None = None
    license: str | None = None
    tags: str | None = None
    date: str | None = None
    merged_from: str | None = None
    timestep_range: str | None = None
    encoder_layer: str | None = None
    trigger_phrase: str | None = None
    usage_hint: str | None = None

    def entries(self) -> dict[str, str]:
        """The modelspec.* entries."""
        side = NOMINAL_RESOLUTION[self.family] if self.family != "sd2" or self.v_prediction else 512
        width, height = self.resolution or (side, side)
        found = {
            "sai_model_spec": "1.0.1",
            "architecture": ARCHITECTURES[self.family, self.v_prediction] + "/lora",
            "implementation": (
                "https://github.com/Stability-AI/generative-models" if self.family == "sdxl" else "diffusers"
            ),
            "title": self.title,
            "resolution": f"{width}x{height}",
            "prediction_type": "v" if self.v_prediction else "epsilon",
        }
        built = {"family", "title", "v_prediction", "resolution"}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in built and value is not None:
                found[field.name] = str(value)
        return {f"modelspec.{key}": value for key, value in found.items()}


def ss_entries(values: Mapping[str, Any]) -> dict[str, str]:
    """Metadata values as the strings that kohya writes: tables as JSON, all else as Python prints it.

    Keys get the prefix ss_ if they lack it.
    """
    return {
        key if key.startswith("ss_") else f"ss_{key}": json.dumps(value, ensure_ascii=False)
        if isinstance(value, dict | list)
        else str(value)
        for key, value in sorted(values.items())
    }


def minimum(family: Family, v_prediction: bool, module: str, dim: object, alpha: object) -> dict[str, str]:
    """The metadata that other tools need; `dim` and `alpha` are "Dynamic" where modules differ."""
    return ss_entries(
        {
            "v2": family == "sd2",
            "base_model_version": BASE_VERSIONS[family, v_prediction],
            "network_module": module,
            "network_dim": dim,
            "network_alpha": alpha,
        }
    )
