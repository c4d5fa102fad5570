"""`<lora:NAME:WEIGHT>` in a prompt, and what the original reads of a LoRA file."""

import hashlib
import json
import re
from collections.abc import Container, Mapping
from pathlib import Path

from drawing.lora import Modules, Tensor
from safetensors import safe_open

TAG = re.compile(r"<lora:([^:>]+)(?::([^:>]+))?(?::([^:>]+))?>")
PARTS = {"lora_down.weight": "down", "lora_up.weight": "up", "alpha": "alpha", "lora_A.weight": "down"} | {
    "lora_B.weight": "up"
}


def take_tags(prompt: str) -> tuple[str, dict[str, tuple[float, float]]]:
    """The prompt without its tags, and for each LoRA its weights for text encoder and UNet."""
    wanted = {}
    for name, text, unet in TAG.findall(prompt):
        weight = float(text) if text else 1.0
        wanted[name] = (weight, float(unet) if unet else weight)
    return TAG.sub("", prompt), wanted


def header(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def short_hash(path: Path) -> str:
    """The 12 hex digits that the WebUI names a LoRA by: the metadata's word, else sha256 of all tensors' bytes."""
    if known := header(path).get("sshs_model_hash"):
        return known[:12]
    with path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def shown_metadata(path: Path) -> dict[str, object]:
    """Metadata as the API lists it: what is JSON is shown as such."""
    shown: dict[str, object] = {}
    for key, value in header(path).items():
        try:
            shown[key] = json.loads(value)
        except ValueError:
            shown[key] = value
    return shown


def read_modules(tensors: Mapping[str, Tensor], known: Container[str]) -> Modules:
    """The parts of a file by module; a module's name ends at the first dot, and unknown ones are passed over."""
    found: Modules = {}
    for name, tensor in tensors.items():
        key, _, part = name.partition(".")
        if key in known:
            found.setdefault(key, {})[part] = tensor
    for key, parts in found.items():
        if unknown := parts.keys() - PARTS.keys():
            print(f"AssertionError: Could not find a module type that would accept {sorted(unknown)} of {key}")
            return {}
    return {key: {PARTS[part]: tensor for part, tensor in parts.items()} for key, parts in found.items()}
