"""Sample pictures drawn during training, from prompts in kohya's syntax."""

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from training import rng
from training.data.text import Embedding
from training.errors import InputError
from training.loop.objective import BETA_END, BETA_START, STEPS
from training.sections.output import SAMPLER_ALIASES, Sample

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

OPTION = re.compile(r"\s--(\w+)\s+")
Encode = Callable[[Sequence[str]], Embedding]
Predict = Callable[[Tensor, Tensor, Embedding, Tensor], Tensor]
"""The UNet's prediction from latents, timesteps, embedding and sizes (n, 6)."""


@dataclass(frozen=True)
class Prompt:
    """One picture to draw."""

    text: str
    negative: str = ""
    width: int = 512
    height: int = 512
    seed: int = 0
    guidance: float = 7.5
    steps: int = 30
    sampler: str = "ddim"


def sample_prompts(sample: Sample, resolution: tuple[int, int], seed: int) -> list[Prompt]:
    """All prompts of the settings and the prompts file; lines that start with # are comments.

    Prompts without a seed take `seed`, `seed` + 1 and so on, by position.
    Raises InputError naming the line that is wrong.
    """
    lines = list(sample.prompts)
    if sample.prompts_file:
        try:
            lines += sample.prompts_file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"sample.prompts_file: {sample.prompts_file} cannot be read: {error}") from error
    wanted = [line for line in lines if line.strip() and not line.startswith("#")]
    return [parse_prompt(line, *resolution, seed + place, sample.sampler) for place, line in enumerate(wanted)]


def parse_prompt(line: str, width: int = 512, height: int = 512, seed: int = 0, sampler: str = "ddim") -> Prompt:
    """A line like `a cat --n blurry --w 512 --h 768 --d 1 --l 7.5 --s 20 --ss euler_a`.

    The other arguments are defaults. Raises InputError naming the option that is wrong.
    """
    text, *rest = OPTION.split(line.strip() + " ")
    found: dict[str, Any] = {"text": text.strip(), "width": width, "height": height, "seed": seed, "sampler": sampler}
    for option, value in zip(rest[::2], rest[1::2], strict=True):
        value = value.strip()
        try:
            match option:
                case "n":
                    found["negative"] = value
                case "w" | "h":
                    found["width" if option == "w" else "height"] = max(64, int(value) // 8 * 8)
                case "d":
                    found["seed"] = int(value)
                case "s":
                    found["steps"] = max(1, min(1000, int(value)))
                case "l":
                    found["guidance"] = float(value)
                case "ss":
                    if (name := SAMPLER_ALIASES.get(value, value)) not in SAMPLERS:
                        known = ", ".join(SAMPLERS)
                        raise InputError(f"sample prompt {line!r}: --ss: no sampler {value!r}; known are {known}")
                    found["sampler"] = name
                case "g" | "fs":
                    float(value)  # of SD 3 and Flux; sd-scripts reads and does not use them for these families
                case _:
                    raise InputError(f"sample prompt {line!r}: --{option} is unknown; known are n, w, h, d, l, s, ss")
        except ValueError as error:
            raise InputError(f"sample prompt {line!r}: --{option} needs a number (is {value!r})") from error
    return Prompt(**found)


def prompt_texts(wanted: Sequence[Prompt]) -> list[str]:
    """Every text that must be encoded to draw the prompts."""
    return sorted({text for prompt in wanted for text in (prompt.text, prompt.negative)})


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
