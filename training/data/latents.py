"""Latents: pictures encoded by the VAE, cached on disk."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training import rng
from training.data import images
from training.data.cache import Cache
from training.data.pictures import Picture
from training.data.transfer import to_device
from training.digests import Digests
from training.errors import InputError, TrainingError

Tick = Callable[[int, int], None]
"""Called with the number done and the total; may raise to interrupt."""


class Latents:
    """The latents of a run's pictures by index, from the cache, which is filled ahead of training or on first use."""

    def __init__(
        self, pictures: Sequence[Picture], cache: Cache, digests: Digests, vae: Path, load_vae: Callable[[], Any]
    ) -> None:
        source = digests.of(vae)

        def key_of(p: Picture) -> str:
            flip = p.subset.augment.flip
            return cache.key("latents 3", digests.of(p.path), p.fit.size, p.fit.resized, flip, source)

        self._cache = cache
        self._keys = [key_of(picture) for picture in pictures]
        missing = {key: p for key, p in zip(self._keys, pictures, strict=True) if not cache.has(key)}
        self._encoder = _Encoder(missing, key_of, cache, digests, load_vae) if missing else None

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """The entry of a picture: latents, mirrored (if flip is on), mask (if it has one)."""
        key = self._keys[index]
        if self._encoder and key in self._encoder.missing:
            self._encoder.encode([key])
            if not self._encoder.missing:
                self._encoder = None
        return self._cache.get(key)

    def fill(self, batch_size: int, tick: Tick) -> None:
        """Encode everything that the cache lacks, `batch_size` pictures at once."""
        if not self._encoder:
            return
        todo = len(self._encoder.missing)
        for group in self._encoder.groups(batch_size):
            tick(todo - len(self._encoder.missing), todo)
            self._encoder.encode(group)
        tick(todo, todo)
        self._encoder = None

    def check_readable(self, tick: Tick) -> None:
        """Read the pictures that will be encoded on first use, so that broken ones are reported before the first step.

        Raises InputError with all of them.
        """
        missing = list(self._encoder.missing.values()) if self._encoder else []
        problems: list[str] = []
        for done, picture in enumerate(missing):
            tick(done, len(missing))
            try:
                images.load_image(picture.path)
            except InputError as error:
                problems.extend(error.problems)
        if problems:
            raise InputError(problems)


class _Encoder:
    """Encodes missing entries; the VAE is loaded for the first picture."""

    def __init__(
        self,
        missing: dict[str, Picture],
        key_of: Callable[[Picture], str],
        cache: Cache,
        digests: Digests,
        load_vae: Callable[[], Any],
    ) -> None:
        self.missing, self._key_of = missing, key_of
        self._cache, self._digests, self._load_vae = cache, digests, load_vae
        self._vae: Any = None

    def groups(self, size: int) -> list[list[str]]:
        """The missing entries, in groups that can be encoded at once."""
        alike: dict[tuple[tuple[int, int], bool], list[str]] = {}
        for key, picture in self.missing.items():
            alike.setdefault((picture.fit.size, picture.subset.augment.flip), []).append(key)
        return [members[start : start + size] for members in alike.values() for start in range(0, len(members), size)]

    def encode(self, group: Sequence[str]) -> None:
        """Encode pictures of one size into the cache.

        Raises TrainingError if a picture has changed since the run started.
        """
        if self._vae is None:
            self._vae = self._load_vae()
        shown = [self.missing[key] for key in group]
        read = [images.read_pixels(picture.path, picture.fit) for picture in shown]
        values = torch.stack([pixels.values for pixels in read])
        for key, picture in zip(group, shown, strict=True):
            if self._key_of(picture) != key:
                raise TrainingError(
                    f"{picture.path}: was changed while the run was going on; put it back and start the run again, "
                    "or choose another --run for the new picture"
                )
        places = [f"{self._digests.of(picture.path)} {picture.fit}" for picture in shown]
        straight = encode_pixels(self._vae, values, places)
        mirrored = encode_pixels(self._vae, values.flip(3), places) if shown[0].subset.augment.flip else None
        for index, key in enumerate(group):
            entry = {"latents": straight[index].cpu()}
            if mirrored is not None:
                entry["mirrored"] = mirrored[index].cpu()
            mask = read[index].mask
            if mask is not None:
                entry["mask"] = mask
            self._cache.put(key, entry)
            del self.missing[key]


@torch.no_grad()
def encode_pixels(vae: Any, pixels: Tensor, places: Sequence[str]) -> Tensor:
    """Scaled latents (n, channels, h / 8, w / 8) of pixels (n, 3, h, w), one draw from the posterior per picture.

    `places` key the draws: for cached latents the picture, not the run, so that caches can be shared.
    """
    posterior = vae.encode(to_device(pixels, vae.device).to(vae.dtype)).latent_dist
    shape = posterior.mean.shape[1:]
    noise = torch.stack([torch.randn(shape, generator=rng.generator(0, "posterior", place)) for place in places])
    latents = posterior.mean + posterior.std * to_device(noise, vae.device).to(posterior.mean.dtype)
    found: Tensor = (latents * vae.config.scaling_factor).float()
    return found
