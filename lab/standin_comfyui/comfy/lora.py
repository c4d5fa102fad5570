"""What ComfyUI reads of a LoRA file, as far as the stand-in does: LoRA and LoCon in kohya's names."""

import logging
from collections.abc import Container, Mapping

from drawing.lora import Modules, Tensor

ENDS = {
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".alpha": "alpha",
}


def read_modules(tensors: Mapping[str, Tensor], known: Container[str]) -> Modules:
    """The parts of a file by module; what is not read is told to the log."""
    found: Modules = {}
    for name, tensor in tensors.items():
        end = next((end for end in ENDS if name.endswith(end)), "")
        key = name.removesuffix(end)
        if end and key in known:
            found.setdefault(key, {})[ENDS[end]] = tensor
        else:
            logging.warning("lora key not loaded: %s", name)
    return found
