"""LoRA files: safetensors in kohya's naming, written reproducibly, with the WebUI's two hashes."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from training import atomic_file
from training.base.header import damaged, unreadable
from training.errors import TrainingError

LEGACY_OFFSET = 0x100000
LEGACY_LENGTH = 0x10000
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""Precisions of files by their names in configs."""

_ALIASES = {
    "lora_A.weight": "lora_down.weight",
    "lora_B.weight": "lora_up.weight",
}
"""Names of the two factors that the WebUI also accepts after a kohya prefix."""


@dataclass(frozen=True)
class LoraFile:
    """The tensors and the metadata of one file."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]

    def modules(self) -> dict[str, dict[str, Tensor]]:
        """Tensors grouped by module: {"lora_unet_...": {"lora_down.weight": ..., "alpha": ...}}, in name order.

        The module's name is all before the first dot, as the WebUI reads it.
        """
        grouped: dict[str, dict[str, Tensor]] = {}
        for key in sorted(self.tensors):
            name, _, part = key.partition(".")
            grouped.setdefault(name, {})[_ALIASES.get(part, part)] = self.tensors[key]
        return grouped


def read_safetensors(path: Path) -> LoraFile:
    """Read a whole safetensors file to the CPU. Raises InputError if it cannot be read."""
    try:
        # safe_open calls every file that it cannot open missing.
        with path.open("rb"), safe_open(path, framework="pt", device="cpu") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
            metadata = dict(file.metadata() or {})
    except OSError as error:
        raise unreadable(path, error) from error
    except SafetensorError as error:
        raise damaged(path, error) from error
    return LoraFile(tensors, metadata)


def serialise(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a safetensors file; the same for the same content.

    The library writes the metadata in the order of a randomly seeded hash map, so two runs would differ: the header
    is written again with sorted keys. Its length, and with it every offset, stays as the library made it.
    """
    # A file name of bytes that are not UTF-8 may be in the metadata.
    written = {key: value.encode("utf-8", "replace").decode() for key, value in metadata.items()}
    data = save({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, written or None)
    length = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    if "__metadata__" in header:
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    if len(text) > length:
        raise TrainingError("the metadata holds characters that cannot be written in a fixed order; remove them")
    return data[:8] + text.ljust(length) + data[8 + length :]


def sshs_hashes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> tuple[str, str]:
    """sshs_model_hash and sshs_legacy_hash, by which WebUIs identify a LoRA file.

    Both are over the file saved with the ss_* metadata only, so that other metadata does not change them: sha256 of
    what follows the header, and the first 8 hex digits of sha256 over 64 KiB at 1 MiB (sd-webui-additional-networks).
    """
    data = serialise(tensors, {key: value for key, value in metadata.items() if key.startswith("ss_")})
    start = 8 + int.from_bytes(data[:8], "little")
    legacy = data[LEGACY_OFFSET : LEGACY_OFFSET + LEGACY_LENGTH]
    return hashlib.sha256(memoryview(data)[start:]).hexdigest(), hashlib.sha256(legacy).hexdigest()[:8]


def write_lora(
    path: Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    check: Callable[[Path], None] | None = None,
) -> str:
    """Write a LoRA file with both sshs hashes in its metadata; returns the sha256 of the file.

    An interrupted write keeps the old file. `check` reads the new file first and may raise. Raises TrainingError.
    """
    model, legacy = sshs_hashes(tensors, metadata)
    data = serialise(tensors, {**metadata, "sshs_model_hash": model, "sshs_legacy_hash": legacy})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file.replaced(path) as part:
            part.write_bytes(data)
            if check:
                check(part)
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from error
    except OSError as error:
        raise TrainingError(f"{path}: cannot be written: {error.strerror or error}") from error
    return hashlib.sha256(data).hexdigest()


def cast_tensors(tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Floating-point tensors in `dtype`; unchanged if it is None."""
    if dtype is None:
        return dict(tensors)
    return {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
