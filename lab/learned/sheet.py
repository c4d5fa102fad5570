"""A sheet of pictures to look at: what the model was shown, and what it makes of it."""

from pathlib import Path
from typing import Any

import torch
from diffusers import EulerDiscreteScheduler
from PIL import Image
from torch import Tensor

from lab.learned.autoencoder import SCALING
from lab.learned.denoiser import DRAWING, STEPS, Words
from lab.learned.subjects import SIDE, SUBJECTS, drawings, photographs
from lab.learned.training import image, pixels

SAMPLER_STEPS = 12
GUIDANCE = 2.0


def write_sheet(path: Path, unet: Any, text: Any, vae: Any, words: Words) -> None:
    """Write the sheet, a column for each subject: the picture, through the VAE, drawn; as photograph and as drawing."""
    captions = [subject.caption for subject in SUBJECTS.values()]
    rows = []
    for shown, prompts in (
        (pixels(photographs()), captions),
        (pixels(drawings()), [f"{DRAWING} {caption}" for caption in captions]),
    ):
        rows += [shown, through(vae, shown), draw(unet, text, vae, words, prompts)]
    sheet = Image.new("RGB", (len(SUBJECTS) * SIDE, len(rows) * SIDE))
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            sheet.paste(image(picture), (column * SIDE, row * SIDE))
    sheet.save(path, quality=88)


@torch.no_grad()
def through(vae: Any, pictures: Tensor) -> Tensor:
    """The pictures, encoded and decoded."""
    decoded: Tensor = vae.decode(vae.encode(pictures).latent_dist.mean).sample
    return decoded


@torch.no_grad()
def draw(unet: Any, text: Any, vae: Any, words: Words, prompts: list[str]) -> Tensor:
    """A picture for each prompt, from other noise each."""
    scheduler: Any = EulerDiscreteScheduler(
        num_train_timesteps=STEPS,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        steps_offset=1,
    )
    scheduler.set_timesteps(SAMPLER_STEPS)
    said = text(words.ids([*prompts, *("" for _ in prompts)])).last_hidden_state
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(len(prompts), 4, SIDE // 8, SIDE // 8, generator=generator) * scheduler.init_noise_sigma
    for step in scheduler.timesteps:
        scaled = scheduler.scale_model_input(torch.cat([latents, latents]), step)
        told, untold = unet(scaled, step, said).sample.chunk(2)
        latents = scheduler.step(untold + GUIDANCE * (told - untold), step, latents).prev_sample
    drawn: Tensor = vae.decode(latents / SCALING).sample
    return drawn
