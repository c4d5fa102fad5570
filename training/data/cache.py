"""Cache of encoded pictures and captions on disk, keyed by their content and everything that affects the result.

Entries are written to a temporary file and renamed: an interrupt leaves no partial entry, and runs may share a folder.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from training import atomic_file
from training.errors import TrainingError, reason


class Cache:
    """One kind of entries (latents, text) in a cache folder."""

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder = folder / kind

    def key(self, *parts: object) -> str:
        """The key of the entry that `parts` determine."""
        return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:40]

    def path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.safetensors"

    def has(self, key: str) -> bool:
        return self.path(key).is_file()

    def get(self, key: str) -> dict[str, Tensor]:
        """The tensors of an entry. A damaged one is removed, so that the next start encodes it again."""
        try:
            return load_file(self.path(key))
        except (OSError, SafetensorError) as error:
            self.path(key).unlink(missing_ok=True)
            raise TrainingError(
                f"{self.path(key)}: this cache entry is damaged or was removed ({reason(error)}); "
                "start the run again to create it again"
            ) from error

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Write an entry."""
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file.replaced(path, durable=False) as part:
            save_file({name: value.contiguous() for name, value in tensors.items()}, part)
