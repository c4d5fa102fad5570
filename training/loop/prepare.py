"""Preparation before the first step: latents and text embeddings are encoded once."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from training.base.loading import BaseModel
from training.data import captions, latents
from training.data.cache import Cache
from training.data.dataset import Batches, Sources
from training.data.pictures import Picture
from training.data.text import Embedding, TextStack
from training.digests import Digests
from training.errors import InputError
from training.run_folder import RunFolder
from training.sections.data import Data
from training.sections.optimisation import Train

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""By train.precision, once auto is resolved."""
Say = Callable[[str], None]
Tick = Callable[[str, int, int], None]
"""Called with a phase, the number done and the total; may raise to interrupt."""


@dataclass(frozen=True)
class Prepared:
    """Batches, and the parts of the base model that the step needs."""

    batches: Batches
    vae: Any
    """Only if latents are not cached."""
    text: TextStack | None
    """Only if captions change or a text encoder is trained."""
    digest: str
    """SHA-256 of the checkpoint."""
    content: str
    """Hash of checkpoint, pictures and captions."""
    device: torch.device

    def encode(self, texts: Sequence[str]) -> Embedding:
        """The embeddings of texts that were prepared, or of any texts if the encoders are loaded."""
        if self.text is not None:
            return self.text.encode(texts)
        sources = self.batches.sources
        entries = [sources.text.get(sources.text_keys[text]) for text in texts]
        pooled = torch.stack([entry["pooled"] for entry in entries]) if "pooled" in entries[0] else None
        hidden = torch.stack([entry["hidden"] for entry in entries])
        return Embedding(hidden.to(self.device), None if pooled is None else pooled.to(self.device))


def prepare(
    data: Data,
    train: Train,
    base: BaseModel,
    pictures: Sequence[Picture],
    run: RunFolder,
    tick: Tick,
    texts: Sequence[str],
    text: TextStack | None = None,
    *,
    along: bool,
    trains_text: bool = False,
    prior_weight: float = 1.0,
) -> Prepared:
    """Fill the caches and return the batches. With warm caches neither VAE nor text encoders are loaded.

    `texts` are further texts to encode; `text` is a text stack that is already loaded; with `along`, pictures are
    encoded when they are first shown; `trains_text`: a text encoder is trained.
    """
    folder = data.cache_folder or run.cache
    digests = Digests(folder / "digests.json")
    text_cache = Cache(folder, "text")
    device = device_of(train.device)
    digest = digests.of(base.config.checkpoint)
    encoded, vae = None, None
    if data.cache_latents:
        cache = Cache(folder, "latents")
        encoded = latents.Latents(pictures, cache, digests, base.vae_file, lambda: _encoding_vae(base, device))
        _fill(encoded, None if along else data.vae_batch_size, tick)
    else:
        vae = base.vae(torch.float32).to(device)
    text_keys: dict[str, str] = {}
    if text_is_cached(data, pictures, trains_text=trains_text):
        shown = {caption for p in pictures for caption in captions.possible_captions(p.caption, p.subset.captions)}
        reader = _Reader(base, device, data.captions.weighted)
        text_keys = reader.fill(sorted(shown.union(texts)), text_cache, digest, tick)
    elif text is None:
        text = _Reader(base, device, data.captions.weighted).stack(DTYPES[train.precision])
    content = _content(digest, pictures, digests)
    digests.save()
    batches = Batches(data, train, pictures, Sources(encoded, text_cache, text_keys), prior_weight)
    return Prepared(batches, vae, text, digest, content, device)


def _fill(encoded: latents.Latents, batch: int | None, tick: Tick) -> None:
    """Encode all pictures, `batch` at a time; with None only look whether they can be read."""
    if batch is None:
        encoded.check_readable(lambda done, todo: tick("looking at pictures", done, todo))
    else:
        encoded.fill(batch, lambda done, todo: tick("encoding pictures", done, todo))


def _content(digest: str, pictures: Sequence[Picture], digests: Digests) -> str:
    """Hash of checkpoint (its `digest`), pictures and captions."""
    shown = [(digests.of(p.path), p.caption, p.repeats, p.fit) for p in pictures]
    return hashlib.sha256(repr([digest, shown]).encode()).hexdigest()


def encodes_along(data: Data, device: torch.device, processes: int) -> bool:
    """Whether pictures are encoded when they are first shown, not ahead of the first step.

    auto: on a CPU, where encoding a picture takes as long as a step and memory is not scarce; not if several processes
    would encode the same picture, or if loader processes read the latents.
    """
    if data.encode != "auto":
        return data.encode == "along"
    return device.type == "cpu" and processes == 1 and data.workers == 0 and data.vae_batch_size == 1


def _encoding_vae(base: BaseModel, device: torch.device) -> Any:
    """The VAE without its decoder, the larger half, which only sample pictures need."""
    vae: Any = base.vae(torch.float32)
    del vae.decoder
    return vae.to(device)


def text_is_cached(data: Data, pictures: Sequence[Picture], *, trains_text: bool) -> bool:
    """Whether captions are encoded once: not if they vary or a text encoder is trained."""
    if data.cache_text == "auto":
        return not trains_text and not any(p.subset.captions.varies for p in pictures)
    return data.cache_text


def device_of(wanted: str) -> torch.device:
    """The device of train.device (`wanted`). Raises InputError if there is no such device."""
    if wanted != "auto":
        usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not usable.get(wanted, True):
            raise InputError(
                f'train.device = "{wanted}", but torch {torch.__version__} finds no such GPU here; '
                "check the driver (nvidia-smi) and that torch was built for it, or set auto"
            )
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


@dataclass(frozen=True)
class _Reader:
    """Loads the base model's text encoders, and encodes captions with them ahead of the training."""

    base: BaseModel
    device: torch.device
    weighted: bool

    def stack(self, dtype: torch.dtype) -> TextStack:
        """Tokenizer and text encoders: in fp32 to fill a cache, in the run's precision to stay."""
        encoders = [encoder.to(self.device) for encoder in self.base.text_encoders(dtype)]
        return TextStack(self.base.tokenizer(), encoders, self.base.family, self.base.config, self.weighted)

    def fill(self, texts: Sequence[str], cache: Cache, digest: str, tick: Tick) -> dict[str, str]:
        """The cache keys of texts, all of them filled; `digest` is the checkpoint's."""
        model = self.base.config
        # SDXL's layer is always the same; its entries were written under 1 before that was so.
        skip = 1 if self.base.family == "sdxl" else model.clip_skip
        keys = {text: cache.key("text 1", text, digest, skip, model.max_token_length, self.weighted) for text in texts}
        missing = [text for text in texts if not cache.has(keys[text])]
        if missing:
            stack = self.stack(torch.float32)
            with torch.no_grad():
                for done, text in enumerate(missing):
                    tick("encoding captions", done, len(missing))
                    found = stack.encode([text])
                    entry = {"hidden": found.hidden[0].cpu()}
                    if found.pooled is not None:
                        entry["pooled"] = found.pooled[0].cpu()
                    cache.put(keys[text], entry)
            tick("encoding captions", len(missing), len(missing))
        return keys
