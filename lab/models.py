"""The lab's base model and tokenizer: small, generated, the same bytes every time.

Weights are random, but a few channels are set by hand so that the model behaves like a slightly trained one: the
autoencoder keeps a picture's colours, the UNet predicts fine-grained noise, and the rest varies with the prompt. That
gives colourful pictures instead of grey ones, and a loss that training can lower.
"""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from lab.checkpoint_layout import TEXT, UNET, VAE, Dimensions, names

Array = NDArray[np.float32]

LANES = 16
"""Hand-wired channels: each of four signals as +x, -x, +x, -x, because silu(x) - silu(-x) = x and because the
mean of such a group is zero, so that group normalisation keeps the signal's own mean."""

LATENT_SCALE = 1 / 0.18215
"""SD 1.5 multiplies latents by 0.18215: the encoder must give them this standard deviation."""

BLUR: Array = (np.outer([1, 2, 1], [1, 2, 1]) / 16).astype(np.float32)
IDENTITY: Array = np.ones((1, 1), dtype=np.float32)


def write_base_model(path: Path, size: Dimensions | None = None, seed: int = 15) -> str:
    """Write the checkpoint (single-file safetensors, fp32) to `path`; returns its sha256."""
    weights = base_weights(size or Dimensions(), seed)
    # One entry only: safetensors writes several in an order that changes from run to run.
    data = save(weights, metadata={"made_by": "sdfleet's lab: random weights, for tests only"})
    path.parent.mkdir(parents=True, exist_ok=True)
    # Renamed into place: a server may be sending the old file.
    new = path.with_suffix(".new")
    new.write_bytes(data)
    new.replace(path)
    return hashlib.sha256(data).hexdigest()


def base_weights(size: Dimensions, seed: int) -> dict[str, NDArray[np.generic]]:
    """All tensors of the base model, by their name in SD 1.5's single-file layout."""
    drawn = {name: _draw(name, shape, seed) for name, shape in names(size)}
    _wire_vae(drawn)
    _wire_unet(drawn)
    position_ids = f"{TEXT}.embeddings.position_ids"
    weights: dict[str, NDArray[np.generic]] = {**drawn}
    weights[position_ids] = np.arange(size.context, dtype=np.int64)[None]
    return weights


def _draw(name: str, shape: tuple[int, ...], seed: int) -> Array:
    """A tensor's random values; the generator is seeded by its name, so that they do not depend on other tensors."""
    key = hashlib.sha256(f"{seed} {name}".encode()).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(key[:16], "big")))
    # Uniform, not normal: exact arithmetic gives the same bytes with every C library.
    noise = (generator.random(shape, dtype=np.float32) * 2 - 1) * np.float32(3**0.5)
    if name.endswith(".bias"):
        # The WebUI's prompt emphasis divides by the mean of the text encoder's output: keep it away from zero.
        return noise * np.float32(0.02) + np.float32(0.3 if "final_layer_norm" in name else 0)
    if "embedding.weight" in name:
        return noise * np.float32(0.5)
    if len(shape) == 1:
        return np.ones(shape, dtype=np.float32)
    return noise * np.float32(_gain(name) / np.prod(shape[1:]) ** 0.5)


def _gain(name: str) -> float:
    """Standard deviation of a layer's output for unit input."""
    return 2.0 if ".attn2." in name else 1.0


def _signals(count: int) -> NDArray[np.int64]:
    return np.arange(count) // 4


def _signs(count: int) -> Array:
    return np.where(np.arange(count) % 2 == 0, 1, -1).astype(np.float32)


def _pass_on(weights: dict[str, Array], name: str, kernel: Array) -> None:
    """Make a convolution pass the hand-wired channels on, each filtered with `kernel`, and add nothing to them."""
    weight = weights[f"{name}.weight"]
    weight[:LANES] = 0
    weights[f"{name}.bias"][:LANES] = 0
    for lane in range(LANES):
        weight[lane, lane] = kernel


def _silence(weights: dict[str, Array], name: str) -> None:
    """Make a residual branch add nothing to the hand-wired channels."""
    weights[f"{name}.weight"][:LANES] = 0
    weights[f"{name}.bias"][:LANES] = 0


def _read_out(weight: Array, row: int, signal: int, scale: float) -> None:
    """Make output `row` of a 3x3 convolution after a SiLU give hand-wired `signal` times `scale`."""
    lanes = np.flatnonzero(_signals(LANES) == signal)
    weight[row, lanes, 1, 1] = _signs(LANES)[lanes] * np.float32(scale / (len(lanes) / 2))


def _wire_vae(weights: dict[str, Array]) -> None:
    encoder, decoder = f"{VAE}.encoder", f"{VAE}.decoder"
    for part in (encoder, decoder):
        for name in [key.removesuffix(".weight") for key in weights if key.startswith(part)]:
            if name.endswith((".conv2", ".proj_out")):
                _silence(weights, name)
            elif name.endswith(".nin_shortcut"):
                _pass_on(weights, name, IDENTITY)
            elif name.endswith(".downsample.conv"):
                corner: Array = np.zeros((3, 3), dtype=np.float32)
                corner[:2, :2] = 0.25
                _pass_on(weights, name, corner)
            elif name.endswith(".upsample.conv"):
                _pass_on(weights, name, BLUR)
    _spread(weights, f"{encoder}.conv_in", colours=3)
    out = weights[f"{encoder}.conv_out.weight"]
    out[:] = 0
    weights[f"{encoder}.conv_out.bias"][:] = np.repeat([0, -12], 4)  # the log-variance of nearly no noise
    for signal in range(4):
        _read_out(out, signal, signal, LATENT_SCALE)
    for name, count in ((f"{VAE}.quant_conv", 8), (f"{VAE}.post_quant_conv", 4)):
        weights[f"{name}.weight"][:] = np.eye(count, dtype=np.float32)[:, :, None, None]
        weights[f"{name}.bias"][:] = 0
    _spread(weights, f"{decoder}.conv_in", colours=4)
    out = weights[f"{decoder}.conv_out.weight"]
    out *= np.float32(0.15)
    out[:, :LANES] = 0
    for signal in range(3):
        _read_out(out, signal, signal, 0.5)


def _spread(weights: dict[str, Array], name: str, colours: int) -> None:
    """Wire a first convolution: input channel k becomes hand-wired signal k (further signals stay random)."""
    weight = weights[f"{name}.weight"]
    weights[f"{name}.bias"][:LANES] = 0
    for lane, (signal, sign) in enumerate(zip(_signals(LANES), _signs(LANES), strict=True)):
        if signal < colours:
            weight[lane] = 0
            weight[lane, signal, 1, 1] = sign
        else:
            weight[lane] = sign * weight[signal * 4]


def _wire_unet(weights: dict[str, Array]) -> None:
    """Make the UNet's noise estimate start from the latents minus their blur: noise differs from pixel to pixel.

    The hand-wired channels carry the latents down to the lowest level and up again, which blurs them; the last block
    subtracts that from its skip connection, and the output's group normalisation scales it.
    """
    _spread(weights, f"{UNET}.input_blocks.0.0", colours=4)
    for name in [key.removesuffix(".weight") for key in weights if key.startswith(UNET)]:
        if name.endswith((".out_layers.3", ".proj_out")):
            _silence(weights, name)
        elif name.endswith(".skip_connection"):
            _pass_on(weights, name, IDENTITY)
        elif name.endswith((".op", ".conv")):
            _pass_on(weights, name, BLUR)
    for block in (9, 10, 11):
        _keep_smooth(weights, f"{UNET}.output_blocks.{block}")
    skip = weights[f"{UNET}.output_blocks.11.0.skip_connection.weight"]
    below = skip.shape[1] - skip.shape[0]
    for lane in range(LANES):
        skip[lane, lane] = -1
        skip[lane, below + lane] = 1
    out = weights[f"{UNET}.out.2.weight"]
    out *= np.float32(0.2)
    out[:, :LANES] = 0
    for signal in range(4):
        # More than 1: every later step would amplify remaining noise.
        _read_out(out, signal, signal, 1.2)


def _keep_smooth(weights: dict[str, Array], block: str) -> None:
    """Make a block at full resolution pass on mostly the coarser level, which is smooth."""
    skip = weights[f"{block}.0.skip_connection.weight"]
    below = skip.shape[1] - skip.shape[0]  # input channels: the coarser level's, then the skip connection's
    skip[:, below:] = 0
    for branch in (f"{block}.0.out_layers.3", f"{block}.1.proj_out"):
        weights[f"{branch}.weight"] *= np.float32(0.15)
