"""A small base model that knows photographs but no captions, and crops of the same photographs with captions.

The photographs ship in scikit-image and scikit-learn (lab/photos.py). The base model is a diffusers folder:
- its VAE is set by hand to the mean colours of blocks of 8 x 8 pixels, so that latents are small pictures;
- its UNet is trained here on random crops, always with the empty caption, to predict v;
- its text encoder is random, its tokenizer is CLIP's own.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.clip.configuration_clip import CLIPTextConfig
from transformers.models.clip.modeling_clip import CLIPTextModel

from lab.photos import PHOTOS, locate
from lab.tokenizer import tokenizer_files
from training.loop.objective import STEPS, alphas_cumprod

SIDE = 64
"""Of a crop, in pixels."""
SHORT_SIDE = 107
"""Of a photograph, in pixels: a crop shows between a third and half of it."""
CROSS = 64
COLOURS = torch.tensor([[2 / 3, 2 / 3, 2 / 3], [3.0, -3.0, 0.0], [-1.25, -1.25, 2.5]])
"""Red, green, blue to brightness, red against green, blue against yellow, each of a spread near 1."""


def write_crops(folder: Path, name: str, each: int, seed: int, shuffled: bool = False) -> Path:
    """Write `each` random crops of every photograph with its caption to FOLDER/1_NAME; returns FOLDER.

    `shuffled` deals the same captions out to other crops, so that they say nothing of them.
    """
    draw = np.random.default_rng(seed)
    target = folder / f"1_{name}"
    target.mkdir(parents=True)
    captions = [caption for caption, _, _ in _photographs() for _ in range(each)]
    if shuffled:
        captions = [captions[at] for at in np.random.default_rng(seed + 1).permutation(len(captions))]
    for number, (_, stem, photo) in enumerate(one for one in _photographs() for _ in range(each)):
        left, top = (int(draw.integers(0, side - SIDE + 1)) for side in photo.size)
        file = target / f"{stem}-{number % each}.png"
        photo.crop((left, top, left + SIDE, top + SIDE)).save(file)
        file.with_suffix(".txt").write_text(captions[number])
    return folder


def write_base(folder: Path, steps: int, seed: int = 0) -> Path:
    """Write the base model, its UNet trained for so many steps without captions; returns FOLDER."""
    torch.manual_seed(seed)
    unet: Any = UNet2DConditionModel(
        sample_size=SIDE // 8,
        in_channels=3,
        out_channels=3,
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=CROSS,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=4,
        norm_num_groups=8,
    )
    text = CLIPTextModel(
        CLIPTextConfig(hidden_size=CROSS, intermediate_size=2 * CROSS, num_hidden_layers=2, num_attention_heads=2)
    )
    begin, end = 49406, 49407
    with torch.no_grad():
        empty: Tensor = text(torch.tensor([[begin] + [end] * 76])).last_hidden_state
    _train(unet, empty, steps, seed)
    unet.save_pretrained(folder / "unet")
    _vae().save_pretrained(folder / "vae")
    text.save_pretrained(folder / "text_encoder")
    for part, files in (
        ("tokenizer", {name: data for name, data in tokenizer_files().items() if name != "config.json"}),
        ("scheduler", {"scheduler_config.json": json.dumps({"prediction_type": "v_prediction"}).encode()}),
    ):
        (folder / part).mkdir()
        for name, data in files.items():
            (folder / part / name).write_bytes(data)
    return folder


def config(base: Path, folder: Path, steps: int, seed: int) -> dict[str, Any]:
    """The tables of a run on FOLDER/pictures, measured on the crops of FOLDER/held/1_photo."""
    return {
        "name": "photo",
        "model": {"checkpoint": str(base)},
        "data": {"folder": str(folder / "pictures"), "resolution": SIDE, "buckets": {"enabled": False}},
        "network": {"rank": 32, "alpha": 32.0},
        "optimizer": {"learning_rate": 5e-3},
        "train": {"steps": steps, "batch_size": 8, "device": "cpu", "seed": seed},
        "validation": {"folder": str(folder / "held" / "1_photo"), "every_steps": steps // 3},
    }


def _photographs() -> Iterator[tuple[str, str, Image.Image]]:
    """Caption, name and picture of every photograph, made small."""
    for photo in PHOTOS:
        with Image.open(locate(photo)) as image:
            scale = SHORT_SIDE / min(image.size)
            size = (round(image.width * scale), round(image.height * scale))
            yield photo.caption, Path(photo.path).stem, image.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def _train(unet: nn.Module, empty: Tensor, steps: int, seed: int) -> None:
    """A plain loop over all of the UNet's weights."""
    photos = [torch.from_numpy(np.array(photo)).permute(2, 0, 1) / 127.5 - 1 for _, _, photo in _photographs()]
    draw, shares, batch = torch.Generator().manual_seed(seed), alphas_cumprod(False), 8
    optimizer = torch.optim.AdamW(unet.parameters(), lr=2e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    for _ in range(steps):
        pixels = torch.stack([_crop(photos, draw) for _ in range(batch)])
        latents = torch.einsum("oc,bchw->bohw", COLOURS, functional.avg_pool2d(pixels, 8))
        noise = torch.randn(latents.shape, generator=draw)
        times = torch.randint(0, STEPS, (batch,), generator=draw)
        signal, spread = (part.view(-1, 1, 1, 1).sqrt() for part in (shares[times], 1 - shares[times]))
        said = unet(signal * latents + spread * noise, times, empty.expand(batch, -1, -1), return_dict=False)[0]
        functional.mse_loss(said, signal * noise - spread * latents).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


def _crop(photos: list[Tensor], draw: torch.Generator) -> Tensor:
    photo = photos[int(torch.randint(len(photos), (), generator=draw))]
    top, left = (int(torch.randint(side - SIDE + 1, (), generator=draw)) for side in photo.shape[1:])
    return photo[:, top : top + SIDE, left : left + SIDE]


@torch.no_grad()
def _vae() -> Any:
    """Mean colours of 8 x 8 pixels there, blocks of one colour back.

    One channel is held at a number so large that it alone decides what the last norms divide by, and a second one
    lifts their result to where SiLU is the identity: so norms and activations do nothing.
    """
    channels, large, lift, shrink = 8, 1000.0, 10.0, 10.0
    vae: Any = AutoencoderKL(
        block_out_channels=[channels] * 4,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=3,
        layers_per_block=1,
        norm_num_groups=1,
        scaling_factor=1.0,
    )
    for parameter in vae.parameters():
        parameter.zero_()
    same = torch.eye(channels)[:, :, None, None]
    for module in vae.modules():
        if type(module).__name__ == "Downsample2D":
            module.conv.weight[:, :, :2, :2] = same / 4
        elif type(module).__name__ == "Upsample2D":
            module.conv.weight[:, :, 1:2, 1:2] = same
    spread = large * (1 / channels - 1 / channels**2) ** 0.5
    for half, mixed in ((vae.encoder, COLOURS), (vae.decoder, torch.linalg.inv(COLOURS))):
        half.conv_in.weight[:3, :, 1, 1] = mixed
        half.conv_in.bias[-1] = large
        half.conv_norm_out.weight[:3] = spread / shrink
        half.conv_norm_out.bias[:3] = large / channels / shrink + lift
        half.conv_out.weight[:3, :3, 1, 1] = shrink * torch.eye(3)
        half.conv_out.bias[:3] = -shrink * lift
    # The logarithm of the variance: a picture's latents are as good as certain.
    vae.encoder.conv_out.bias[3:] = -30.0
    vae.quant_conv.weight[:, :, 0, 0] = torch.eye(6)
    vae.post_quant_conv.weight[:, :, 0, 0] = torch.eye(3)
    return vae
