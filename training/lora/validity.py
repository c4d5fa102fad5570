"""Checks that a LoRA file can be applied: when a tool reads it, and before a new file gets its name."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from training.errors import InputError, TrainingError
from training.lora import deltas, lorafile
from training.lora.lorafile import LoraFile
from training.sections.model import Family

FAMILIES: dict[Family, str] = {"sd1": "SD 1.5", "sd2": "SD 2", "sdxl": "SDXL"}
CROSS_ATTENTION: dict[int, Family] = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
"""Families by the width of their text embeddings."""
ORIGINAL = ("lora_te2_", "lora_unet_input_blocks", "lora_unet_output_blocks")
"""Prefixes of module names that only SDXL has."""


EMBEDDING = frozenset({"emb_params", "clip_l", "clip_g", "string_to_param"})
"""Tensors of embeddings."""


def read_valid(path: Path) -> LoraFile:
    """Read a LoRA file.

    Raises InputError with the first modules that cannot be applied, or with the families that the file mixes.
    """
    file = lorafile.read_safetensors(path)
    problems = foreign_naming(file) or invalid_modules(file.modules())
    if not file.tensors:
        problems.append("holds no tensor")
    if problems:
        raise InputError(f"{path}: {_some(problems)}")
    mixed = families([file])
    if len(mixed) > 1:
        raise InputError(f"{path}: {mixed_families(mixed)}")
    return file


def check_written(path: Path) -> None:
    """Check a file that was just written, before it gets its name. Raises TrainingError if it cannot be applied."""
    problems = invalid_modules(lorafile.read_safetensors(path).modules())
    if problems:
        raise TrainingError(f"not written: {_some(problems)}. Try --precision fp32 if numbers are too large")


def invalid_modules(modules: Mapping[str, Mapping[str, Tensor]]) -> list[str]:
    """One sentence for each module that cannot be applied."""
    found = ((name, deltas.why_invalid(parts)) for name, parts in modules.items())
    return [f"{name} {why}" for name, why in found if why]


def foreign_naming(file: LoraFile) -> list[str]:
    """Why a LoRA in another program's naming cannot be used here."""
    names = [key for key in file.tensors if not key.startswith("lora_")]
    if file.tensors and file.tensors.keys() <= EMBEDDING:
        return ["is an embedding (textual inversion), not a LoRA; it belongs in the WebUI's embeddings folder"]
    if any(part in key for key in names for part in (".lora_A.", ".lora.down.", ".lora_down.", "_lora.down.")):
        return [
            f"is named as by diffusers or PEFT ({names[0]}), which the WebUI ignores silently; save it as kohya does"
        ]
    return []


def families(files: Iterable[LoraFile]) -> set[Family]:
    """The families that the files' names and shapes show; empty where they fit several."""
    found: set[Family] = set()
    for file in files:
        for name, parts in file.modules().items():
            if name.startswith(ORIGINAL):
                found.add("sdxl")
            elif name.endswith("attn2_to_k") and not deltas.why_invalid(parts):
                known = (
                    CROSS_ATTENTION.get(deltas.delta(parts).shape[1]) if deltas.network_kind(parts) != "bias" else None
                )
                found |= {known} if known else set()
    return found


def mixed_families(found: Iterable[Family]) -> str:
    """The message on modules of several families."""
    names = " and ".join(FAMILIES[family] for family in sorted(found))
    return f"mixes modules for {names}; no model takes both, so they cannot be one file"


def _some(problems: list[str]) -> str:
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return "; ".join(problems[:3]) + more
