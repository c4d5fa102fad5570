"""Sample pictures drawn during training."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training import rng
from training.data.prompts import Prompt
from training.data.text import Embedding
from training.loop.objective import BETA_END, BETA_START, STEPS

SAMPLERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ddim": ("scheduling_ddim", "DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
    "ddpm": ("scheduling_ddpm", "DDPMScheduler", {"clip_sample": False}),
    "pndm": ("scheduling_pndm", "PNDMScheduler", {"skip_prk_steps": True}),
    "lms": ("scheduling_lms_discrete", "LMSDiscreteScheduler", {}),
    "euler": ("scheduling_euler_discrete", "EulerDiscreteScheduler", {}),
    "euler_a": ("scheduling_euler_ancestral_discrete", "EulerAncestralDiscreteScheduler", {}),
    "heun": ("scheduling_heun_discrete", "HeunDiscreteScheduler", {}),
    "dpmsolver": (
        "scheduling_dpmsolver_multistep",
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
    ),
    "dpmsolver++": ("scheduling_dpmsolver_multistep", "DPMSolverMultistepScheduler", {}),
    "dpmsingle": ("scheduling_dpmsolver_singlestep", "DPMSolverSinglestepScheduler", {}),
    "k_dpm_2": ("scheduling_k_dpm_2_discrete", "KDPM2DiscreteScheduler", {}),
    "k_dpm_2_a": ("scheduling_k_dpm_2_ancestral_discrete", "KDPM2AncestralDiscreteScheduler", {}),
}
"""Module, class and non-default arguments of diffusers' samplers, by kohya's names."""

Encode = Callable[[Sequence[str]], Embedding]
Predict = Callable[[Tensor, Tensor, Embedding, Tensor], Tensor]
"""The UNet's prediction from latents, timesteps, embedding and sizes (n, 6)."""


def make_sampler(name: str, v_prediction: bool) -> Any:
    """diffusers' sampler of that name, with Stable Diffusion's noise schedule."""
    module, cls, more = SAMPLERS[name]
    return getattr(importlib.import_module(f"diffusers.schedulers.{module}"), cls)(
        num_train_timesteps=STEPS,
        beta_start=BETA_START,
        beta_end=BETA_END,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction" if v_prediction else "epsilon",
        **more,
    )


@torch.no_grad()
def draw_sample(prompt: Prompt, v_prediction: bool, predict: Predict, encode: Encode, vae: Any) -> Image.Image:
    """One picture, with classifier-free guidance; the same prompt and seed give the same noise at every step."""
    sampler = make_sampler(prompt.sampler, v_prediction)
    sampler.set_timesteps(prompt.steps)
    noise = rng.generator(prompt.seed, "sample")
    shape = (1, vae.config.latent_channels, prompt.height // 8, prompt.width // 8)
    device = vae.device
    latents = torch.randn(shape, generator=noise).to(device) * sampler.init_noise_sigma
    text = encode([prompt.negative, prompt.text])
    sizes = torch.tensor([[prompt.height, prompt.width, 0, 0, prompt.height, prompt.width]] * 2, dtype=torch.float32)
    # Some samplers draw noise in their steps, others do not take a generator.
    more = {"generator": noise} if "generator" in sampler.step.__code__.co_varnames else {}
    for time in sampler.timesteps:
        seen = sampler.scale_model_input(torch.cat([latents, latents]), time)
        without, with_text = predict(seen, time.to(device).expand(2), text, sizes.to(device)).float().chunk(2)
        latents = sampler.step(without + prompt.guidance * (with_text - without), time, latents, **more).prev_sample
    pixels = vae.decode((latents / vae.config.scaling_factor).to(vae.dtype)).sample[0].float()
    values = ((pixels.clamp(-1, 1) + 1) * 127.5).round().permute(1, 2, 0).cpu().numpy().astype(np.uint8)
    return Image.fromarray(values)


def sample_file_name(name: str, step: int, place: int) -> Path:
    """The file of a picture, relative to the folder of samples."""
    return Path(f"{name}-{step:08d}-{place:02d}.png")
