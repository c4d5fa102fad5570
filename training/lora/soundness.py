"""Whether a LoRA file can be applied as it is: before it is read by a tool, and again before it gets its name."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

from training.errors import InputError, TrainingError
from training.lora import deltas, lorafile
from training.lora.lorafile import LoraFile
from training.sections.model import Family

FAMILIES: dict[Family, str] = {"sd1": "SD 1.5", "sd2": "SD 2", "sdxl": "SDXL"}
CROSS_ATTENTION: dict[int, Family] = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
"""Width of the text embeddings that released models attend to."""
ORIGINAL = ("lora_te2_", "lora_unet_input_blocks", "lora_unet_output_blocks")
"""How names of modules begin that only SDXL has."""


def read(path: Path) -> LoraFile:
    """A LoRA file whose every module can be applied.

    Raises InputError that names the first modules which cannot be, or the families of models that the file mixes.
    """
    file = lorafile.read(path)
    problems = [*foreign(file), *unsound(file.modules())]
    if not file.tensors:
        problems.append("holds no tensor")
    if problems:
        raise InputError(f"{path}: {_some(problems)}")
    mixed = families([file])
    if len(mixed) > 1:
        raise InputError(f"{path}: {mixture(mixed)}")
    return file


def check(path: Path) -> None:
    """Read a file that was just written, before it gets its name. Raises TrainingError if it is not sound."""
    problems = unsound(lorafile.read(path).modules())
    if problems:
        raise TrainingError(f"not written: {_some(problems)}. Try --precision fp32 if numbers are too large")


def unsound(modules: Mapping[str, Mapping[str, Tensor]]) -> list[str]:
    """One sentence for each module that cannot be applied."""
    found = ((name, deltas.unsound(parts)) for name, parts in modules.items())
    return [f"{name} {why}" for name, why in found if why]


def foreign(file: LoraFile) -> list[str]:
    """Why a LoRA in another program's naming is none for these tools."""
    names = [key for key in file.tensors if not key.startswith("lora_")]
    if any(part in key for key in names for part in (".lora_A.", ".lora.down.", ".lora_down.")):
        return [
            f"is named as by diffusers or PEFT ({names[0]}), which the WebUI ignores silently; save it as kohya does"
        ]
    return []


def families(files: Iterable[LoraFile]) -> set[Family]:
    """The families that names and shapes of files show; empty where they fit several."""
    found: set[Family] = set()
    for file in files:
        for name, parts in file.modules().items():
            if name.startswith(ORIGINAL):
                found.add("sdxl")
            elif name.endswith("attn2_to_k") and not deltas.unsound(parts):
                known = CROSS_ATTENTION.get(deltas.delta(parts).shape[1]) if deltas.kind(parts) != "bias" else None
                found |= {known} if known else set()
    return found


def mixture(found: Iterable[Family]) -> str:
    """The sentence on modules of several families."""
    names = " and ".join(FAMILIES[family] for family in sorted(found))
    return f"mixes modules for {names}; no model takes both, so they cannot be one file"


def _some(problems: list[str]) -> str:
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return "; ".join(problems[:3]) + more
