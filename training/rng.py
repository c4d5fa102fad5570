"""Random numbers: every draw has its own generator, keyed by seed, purpose and position.

There is no shared stream, so the number of loader workers, a warm cache, sample pictures or a resume cannot change
later draws.
"""

import hashlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def key(seed: int, purpose: str, *place: int | str) -> int:
    """The 63-bit seed of one draw: same arguments, same seed, on every machine."""
    text = "/".join(map(str, (seed, purpose, *place)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def generator(seed: int, purpose: str, *place: int | str) -> "torch.Generator":
    """A CPU generator for one draw of tensors."""
    import torch

    return torch.Generator().manual_seed(key(seed, purpose, *place))


def choices(seed: int, purpose: str, *place: int | str) -> random.Random:
    """A generator for one draw of plain numbers or an order."""
    return random.Random(key(seed, purpose, *place))
