"""Trains the VAE on the twelve photographs and their ink drawings."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from lab.learned.subjects import drawings, photographs
from lab.learned.training import Optimizer, batches, pixels

SCALING = 0.18215
"""SD 1.5's factor of latents: the VAE's have 1 / SCALING as their standard deviation."""
SPREAD = 0.1
"""Standard deviation of the noise in latents while training, so that the decoder forgives a UNet's errors."""
CROP = 64
LARGE = 176
"""Side of the pictures from which random crops are taken, so that it learns more than 24 pictures by heart."""

Say = Callable[[str, int, float], None]


def new_vae(widths: tuple[int, int, int, int]) -> Any:
    """An untrained VAE whose residual blocks do nothing yet."""
    vae: Any = AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
        scaling_factor=SCALING,
    )
    quieten(vae)
    for block in (*vae.encoder.down_blocks[0].resnets, *vae.decoder.up_blocks[-1].resnets):
        put_to_sleep(block)
    with torch.no_grad():
        # The log-variance of the latents is fixed: that of SPREAD.
        for layer, keep in ((vae.encoder.conv_out, False), (vae.quant_conv, True)):
            layer.weight[4:] = 0
            layer.bias[4:] = 2 * torch.tensor(SPREAD).log() if keep else 0
        vae.quant_conv.weight[:4, 4:] = 0
    return vae


def quieten(network: nn.Module) -> None:
    """Set the last layer of every residual branch to zero: then depth does not slow the start of the training."""
    for name, module in network.named_modules():
        if name.endswith((".conv2", ".proj_out", ".to_out.0", ".ff.net.2")) and ".attentions." not in name:
            nn.init.zeros_(module.weight)


def put_to_sleep(block: Any) -> None:
    """Let a residual block be nothing but its shortcut, which takes no time: all of its other weights are zero."""
    block.forward = lambda hidden, *_, **__: block.conv_shortcut(hidden) if block.conv_shortcut else hidden
    for layer in (block.norm1, block.conv1, block.norm2, block.conv2):
        for weight in layer.parameters():
            nn.init.zeros_(weight).requires_grad_(False)


def train_vae(vae: Any, steps: int, rate: float, seed: int, say: Say) -> None:
    """Train `vae` in place, and scale its latents as SD 1.5's are."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = Optimizer([vae], rate, steps)
    for step, (whole, crops) in zip(range(steps), _pictures(generator), strict=False):
        losses = []
        for batch in (whole, crops):
            with torch.autocast("cpu", torch.bfloat16):
                mean = vae.encode(batch).latent_dist.mean
                noise = SPREAD * torch.randn(mean.shape, generator=generator)
                drawn = vae.decode(mean + noise).sample
            losses.append(_distance(drawn.float(), batch) + 5e-4 * mean.float().square().mean())
        optimizer.step(losses[0] + 0.25 * losses[1])
        say("vae", step, losses[0].item())
    optimizer.take_mean()
    _rescale(vae)


def _pictures(generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Two whole pictures, and a crop of another."""
    known = pixels([*photographs(), *drawings()])
    large = pixels([*photographs(LARGE), *drawings(LARGE)])
    order, others = batches(len(known), 2, generator), batches(len(known), 1, generator)
    while True:
        crops = []
        for picture in large[next(others)]:
            side = (CROP, 96, 128)[int(torch.randint(3, (), generator=generator))]
            top, left = (int(torch.randint(LARGE + 1 - side, (), generator=generator)) for _ in range(2))
            crop = picture[None, :, top : top + side, left : left + side]
            crop = functional.interpolate(crop, (CROP, CROP), mode="bilinear", antialias=True)
            crops.append(crop.flip(3) if torch.rand((), generator=generator) < 0.5 else crop)
        yield known[next(order)], torch.cat(crops)


def _distance(drawn: Tensor, true: Tensor) -> Tensor:
    """Mean absolute error of the pixels, and of the edges: the differences of neighbours."""
    error = drawn - true
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return error.abs().mean() + 0.5 * edges


@torch.no_grad()
def _rescale(vae: Any) -> None:
    """Give each channel of the photographs' latents mean 0 and standard deviation 1 / SCALING."""
    latents = vae.encode(pixels(photographs())).latent_dist.mean
    mean, factor = latents.mean((0, 2, 3)), 1 / SCALING / latents.std((0, 2, 3))
    vae.quant_conv.weight[:4] *= factor.view(-1, 1, 1, 1)
    vae.quant_conv.bias[:4] = (vae.quant_conv.bias[:4] - mean) * factor
    vae.quant_conv.bias[4:] += 2 * factor.log()
    vae.post_quant_conv.bias += vae.post_quant_conv.weight[:, :, 0, 0] @ mean
    vae.post_quant_conv.weight /= factor.view(1, -1, 1, 1)
