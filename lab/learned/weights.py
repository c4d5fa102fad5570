"""The learned model's weights: kept small in weights.safetensors, written out as a whole SD 1.5 checkpoint.

Kept are the captions' tokens and what is not zero. Written out, all 49408 tokens of CLIP are there: those that no
caption has get random embeddings, always the same.
"""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from lab.checkpoint_layout import TEXT, Dimensions, names

SIZE = Dimensions(unet=(64, 64, 32, 32), vae=(64, 32, 64, 64), text_width=64, text_layers=2)
KEPT = Path(__file__).with_name("weights.safetensors")
TOKENS = "tokens"
"""Numbers of the captions' tokens in CLIP's vocabulary, in the order of their embeddings' rows."""
EMBEDDINGS = f"{TEXT}.embeddings.token_embedding.weight"

Array = NDArray[np.generic]
Weights = dict[str, Array]


def write_learned_model(path: Path, kept: Path = KEPT) -> str:
    """Write the checkpoint (single-file safetensors, fp16) to `path`; returns its sha256."""
    # One entry of metadata only: safetensors writes several in an order that changes from run to run.
    data = save(whole(load_file(kept)), metadata={"made_by": "sdfleet's lab: it has learned twelve photographs"})
    path.parent.mkdir(parents=True, exist_ok=True)
    # Renamed into place: a server may be sending the old file.
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.replace(path)
    return hashlib.sha256(data).hexdigest()


def whole(kept: Weights) -> Weights:
    """All tensors of the checkpoint, by their name in SD 1.5's single-file layout."""
    found: Weights = {}
    for name, shape in names(SIZE):
        if name == EMBEDDINGS:
            found[name] = _embeddings(kept[TOKENS], kept[name], shape)
        elif name.endswith(".position_ids"):
            found[name] = np.arange(SIZE.context, dtype=np.int64)[None]
        else:
            found[name] = kept[name] if name in kept else np.zeros(shape, dtype=np.float16)
    return found


def keep(found: Weights, tokens: list[int], path: Path) -> None:
    """Write the part of a trained checkpoint that `whole` does not make up, in fp16, to `path`."""
    kept: Weights = {name: value.astype(np.float16) for name, value in found.items() if value.any()}
    kept[TOKENS] = np.array(tokens, dtype=np.int32)
    path.write_bytes(save(kept))


def _embeddings(tokens: Array, learned: Array, shape: tuple[int, ...]) -> Array:
    # Uniform, not normal: exact arithmetic gives the same bytes with every C library.
    drawn = np.random.Generator(np.random.PCG64(15)).random(shape, dtype=np.float32) * 2 - 1
    drawn *= np.float32(3**0.5) * learned.astype(np.float32).std()
    drawn[tokens] = learned
    return drawn.astype(np.float16)
