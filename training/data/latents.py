"""Latents: pictures encoded by the VAE, once."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from training import draws
from training.data import images
from training.data.cache import Cache
from training.data.pictures import Picture
from training.digests import Digests

Tick = Callable[[int, int], None]
"""Called with what is done and what there is to do; may raise to interrupt."""


def keys(pictures: Sequence[Picture], cache: Cache, vae: str, digests: Digests) -> list[str]:
    """The cache keys of all pictures; `vae` is the digest of the VAE's file."""
    return [
        cache.key("latents 2", digests.of(p.path), p.fit.size, p.fit.resized, p.subset.augment.flip, vae)
        for p in pictures
    ]


def fill(
    pictures: Sequence[Picture],
    names: Sequence[str],
    cache: Cache,
    digests: Digests,
    load_vae: Callable[[], Any],
    batch_size: int,
    tick: Tick,
) -> None:
    """Encode the pictures that the cache lacks; the VAE is loaded only if there are any."""
    missing = {name: picture for picture, name in zip(pictures, names, strict=True) if not cache.has(name)}
    if not missing:
        return
    vae = load_vae()
    alike: dict[tuple[tuple[int, int], bool], list[str]] = {}
    for name, picture in missing.items():
        alike.setdefault((picture.fit.size, picture.subset.augment.flip), []).append(name)
    groups = [
        members[start : start + batch_size]
        for members in alike.values()
        for start in range(0, len(members), batch_size)
    ]
    done = 0
    for group in groups:
        tick(done, len(missing))
        read = [images.read(missing[name].path, missing[name].fit) for name in group]
        values = torch.stack([pixels.values for pixels in read])
        places = [f"{digests.of(missing[name].path)} {missing[name].fit}" for name in group]
        straight = encode(vae, values, places)
        mirrored = encode(vae, values.flip(3), places) if missing[group[0]].subset.augment.flip else None
        for index, name in enumerate(group):
            entry = {"latents": straight[index].cpu()}
            if mirrored is not None:
                entry["mirrored"] = mirrored[index].cpu()
            mask = read[index].mask
            if mask is not None:
                entry["mask"] = mask
            cache.put(name, entry)
        done += len(group)
    tick(done, len(missing))


@torch.no_grad()
def encode(vae: Any, pixels: Tensor, places: Sequence[str]) -> Tensor:
    """Scaled latents (n, channels, h / 8, w / 8) of pixels (n, 3, h, w), one draw from the posterior a picture.

    The draw belongs to its place: for cached latents the picture, not the run, so that caches can be shared.
    """
    posterior = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist
    shape = posterior.mean.shape[1:]
    noise = torch.stack([torch.randn(shape, generator=draws.generator(0, "posterior", place)) for place in places])
    latents = posterior.mean + posterior.std * noise.to(posterior.mean)
    found: Tensor = (latents * vae.config.scaling_factor).float()
    return found
