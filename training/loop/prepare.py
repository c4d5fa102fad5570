"""What a run needs before its first step: pictures found, latents and text embeddings encoded once."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from training.base.loading import BaseModel
from training.config import Config
from training.data import captions, latents
from training.data.cache import Cache
from training.data.dataset import Batches, Sources
from training.data.pictures import Picture
from training.data.text import Embedding, TextStack
from training.digests import Digests
from training.errors import InputError
from training.run_folder import RunFolder

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""By train.precision, once auto is resolved."""
Say = Callable[[str], None]
Tick = Callable[[str, int, int], None]
"""Called with a phase, what is done and what there is to do; may raise to interrupt."""


@dataclass(frozen=True)
class Prepared:
    """Batches, and the parts of the base model that are still needed in the step."""

    batches: Batches
    vae: Any
    """Only if latents are not cached."""
    text: TextStack | None
    """Only if captions change or a text encoder is trained."""
    digest: str
    """SHA-256 of the checkpoint."""
    content: str
    """Stands for the content of checkpoint, pictures and captions."""
    device: torch.device

    def encode(self, texts: Sequence[str]) -> Embedding:
        """The embeddings of texts that were prepared, or of any texts while the encoders are at hand."""
        if self.text is not None:
            return self.text.encode(texts)
        sources = self.batches.sources
        entries = [sources.text.get(sources.text_keys[text]) for text in texts]
        pooled = torch.stack([entry["pooled"] for entry in entries]) if "pooled" in entries[0] else None
        hidden = torch.stack([entry["hidden"] for entry in entries])
        return Embedding(hidden.to(self.device), None if pooled is None else pooled.to(self.device))


def prepare(
    config: Config,
    base: BaseModel,
    pictures: Sequence[Picture],
    run: RunFolder,
    tick: Tick,
    texts: Sequence[str],
    text: TextStack | None = None,
    *,
    along: bool,
) -> Prepared:
    """Fill the caches and give the batches. With warm caches neither VAE nor text encoders are loaded.

    `texts` are further texts to encode; `text` is a text stack that is loaded already; `along` leaves pictures to be
    encoded when they are first shown.
    """
    folder = config.data.cache_folder or run.cache
    digests = Digests(folder / "digests.json")
    text_cache = Cache(folder, "text")
    device = device_of(config)
    digest = digests.of(config.model.checkpoint)
    encoded, vae = None, None
    if config.data.cache_latents:
        encoded = latents.Latents(
            pictures, Cache(folder, "latents"), digests, base.vae_file, lambda: _encoding_vae(base, device)
        )
        if along:
            encoded.look(lambda done, todo: tick("looking at pictures", done, todo))
        else:
            encoded.fill(config.data.vae_batch_size, lambda done, todo: tick("encoding pictures", done, todo))
    else:
        vae = base.vae(torch.float32).to(device)
    text_keys: dict[str, str] = {}
    if text_is_cached(config, pictures):
        shown = {caption for p in pictures for caption in captions.all_shown(p.caption, p.subset.captions)}
        text_keys = _fill_text(config, base, sorted(shown.union(texts)), text_cache, digest, tick)
    elif text is None:
        text = text_stack(config, base, DTYPES[config.train.precision])
    shown_content = [(digests.of(p.path), p.caption, p.repeats, p.fit) for p in pictures]
    content = hashlib.sha256(repr([digest, shown_content]).encode()).hexdigest()
    digests.save()
    batches = Batches(config, pictures, Sources(encoded, text_cache, text_keys))
    return Prepared(batches, vae, text, digest, content, device)


def encodes_along(config: Config, processes: int) -> bool:
    """Whether pictures are encoded when they are first shown, and not ahead of the first step.

    auto: on a CPU, where encoding a picture takes as long as a step and memory is not scarce; not where several
    processes would encode the same picture, nor where the loader's do the reading.
    """
    data = config.data
    if data.encode != "auto":
        return data.encode == "along"
    return device_of(config).type == "cpu" and processes == 1 and data.workers == 0 and data.vae_batch_size == 1


def _encoding_vae(base: BaseModel, device: torch.device) -> Any:
    """The VAE without its larger half, which only samples need."""
    vae: Any = base.vae(torch.float32)
    del vae.decoder
    return vae.to(device)


def text_is_cached(config: Config, pictures: Sequence[Picture]) -> bool:
    """Whether captions are encoded once: not if they vary or a text encoder is trained."""
    if config.data.cache_text == "auto":
        return not config.network.text_encoder and not any(p.subset.captions.vary for p in pictures)
    return config.data.cache_text


def text_stack(config: Config, base: BaseModel, dtype: torch.dtype) -> TextStack:
    """Tokenizer and text encoders on the run's device: in fp32 to fill a cache, in the run's precision to stay."""
    device = device_of(config)
    encoders = [encoder.to(device) for encoder in base.text_encoders(dtype)]
    return TextStack(base.tokenizer(), encoders, base.family, config.model, config.data.captions.weighted)


def device_of(config: Config) -> torch.device:
    """Where the run computes."""
    if config.train.device != "auto":
        usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if not usable.get(config.train.device, True):
            raise InputError(
                f'train.device = "{config.train.device}", but torch {torch.__version__} finds no such GPU here; '
                "check the driver (nvidia-smi) and that torch was built for it, or set auto"
            )
        return torch.device(config.train.device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _fill_text(
    config: Config, base: BaseModel, texts: Sequence[str], cache: Cache, digest: str, tick: Tick
) -> dict[str, str]:
    """The cache keys of texts, all of them filled."""
    model = config.model
    keys = {
        text: cache.key("text 1", text, digest, model.clip_skip, model.max_token_length, config.data.captions.weighted)
        for text in texts
    }
    missing = [text for text in texts if not cache.has(keys[text])]
    if missing:
        stack = text_stack(config, base, torch.float32)
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
