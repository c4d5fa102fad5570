"""The training objective: noise, timesteps, target and loss. Formulas as in kohya's sd-scripts."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training import rng
from training.sections.objective import Objective as Settings

STEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012
"""Stable Diffusion's noise schedule ("scaled linear")."""
SNR_LIMIT = 1000.0
"""The signal-to-noise ratio of timestep 0 is practically infinite; weights use at most this."""


@dataclass(frozen=True)
class Noisy:
    """Noisy latents, and the target of the UNet's prediction."""

    latents: Tensor
    timesteps: Tensor
    target: Tensor


@dataclass(frozen=True)
class Draw:
    """The random numbers of a batch, always drawn on the host."""

    noise: Tensor
    """(n, channels, h, w)."""
    timesteps: Tensor
    """(n,)."""
    extra: Tensor | None = None
    """Like noise; perturbs the UNet's input only."""
    offset: Tensor | None = None
    """(n, channels, 1, 1), if the shift of the noise's mean follows the latents."""
    shift: Tensor | None = None
    """(n, 1, 1, 1): size of the shift before the latents' part is added."""


def alphas_cumprod(zero_terminal_snr: bool) -> Tensor:
    """The squared share of signal at every timestep.

    zero_terminal_snr rescales as in "Common Diffusion Noise Schedules and Sample Steps are Flawed" (arXiv 2305.08891).
    """
    betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, STEPS, dtype=torch.float32) ** 2
    found = torch.cumprod(1.0 - betas, dim=0)
    if zero_terminal_snr:
        root = found.sqrt()
        first, last = root[0].clone(), root[-1].clone()
        found = ((root - last) * first / (first - last)) ** 2
    return found


class Objective:
    """Noise, timesteps, target and loss of a run."""

    def __init__(self, settings: Settings, v_prediction: bool, seed: int, device: torch.device) -> None:
        self.settings, self.v_prediction, self.seed = settings, v_prediction, seed
        shares = alphas_cumprod(settings.zero_terminal_snr).to(device)
        self._signal, self._noise = shares.sqrt(), (1.0 - shares).sqrt()
        self._snr = (self._signal / self._noise) ** 2

    def draw(self, shape: torch.Size, place: int) -> Draw:
        """The random numbers of a batch with latents of `shape` (n, channels, h, w), on the host.

        `place`, the batch's number in the run, keys the draws.
        """
        settings = self.settings
        draw = rng.generator(self.seed, "noise", place)
        noise = torch.randn(shape, generator=draw)
        timesteps = torch.randint(settings.min_timestep, settings.max_timestep, shape[:1], generator=draw)
        offset = shift = None
        if settings.noise_offset:
            strength, offset = self._offset(noise, place)
            if settings.adaptive_noise_scale:
                shift = torch.full((shape[0], 1, 1, 1), strength, dtype=noise.dtype)
            else:
                noise, offset = noise + strength * offset, None
        if settings.multires_iterations:
            noise = self._pyramid(noise, place)
        extra = None
        if settings.input_perturbation:
            draw = rng.generator(self.seed, "perturbation", place)
            strength = settings.input_perturbation
            if settings.input_perturbation_random:
                strength *= torch.rand((), generator=draw).item()
            extra = strength * torch.randn(shape, generator=draw)
        return Draw(noise, timesteps, extra, offset, shift)

    def noisy(self, latents: Tensor, draw: Draw) -> Noisy:
        """Noisy latents for a batch (n, channels, h, w); both on the objective's device."""
        noise, timesteps = draw.noise, draw.timesteps
        if draw.offset is not None and draw.shift is not None:
            mean = latents.mean(dim=(2, 3), keepdim=True).abs()
            shift = (draw.shift + self.settings.adaptive_noise_scale * mean).clamp(min=0.0)
            noise = noise + shift * draw.offset
        signal, spread = self._signal[timesteps].view(-1, 1, 1, 1), self._noise[timesteps].view(-1, 1, 1, 1)
        seen = noise if draw.extra is None else noise + draw.extra
        target = signal * noise - spread * latents if self.v_prediction else noise
        return Noisy(signal * latents + spread * seen, timesteps, target)

    def _offset(self, noise: Tensor, place: int) -> tuple[float, Tensor]:
        """How far the noise's mean is shifted, and which way in each channel (n, channels, 1, 1)."""
        draw = rng.generator(self.seed, "offset", place)
        strength = self.settings.noise_offset
        if self.settings.noise_offset_random:
            strength *= torch.rand((), generator=draw).item()
        return strength, torch.randn((*noise.shape[:2], 1, 1), generator=draw)

    def _pyramid(self, noise: Tensor, place: int) -> Tensor:
        """Noise at several scales, weaker at coarser ones, normalised to unit variance."""
        draw = rng.generator(self.seed, "pyramid", place)
        height, width = noise.shape[2:]
        for level in range(self.settings.multires_iterations):
            shrink = (torch.rand((), generator=draw).item() * 2 + 2) ** level
            size = (max(1, int(height / shrink)), max(1, int(width / shrink)))
            coarse = torch.randn((*noise.shape[:2], *size), generator=draw)
            spread = functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
            noise = noise + spread * self.settings.multires_discount**level
            if 1 in size:
                break
        return noise / noise.std()

    def loss(self, prediction: Tensor, noisy: Noisy, weights: Tensor, mask: Tensor | None = None) -> Tensor:
        """The batch's loss; `weights` (n,) are the samples' weights, `mask` (n, h, w) those of positions."""
        losses = self._distance(prediction.float(), noisy)
        if mask is not None:
            losses = losses * mask.unsqueeze(1)
        return (self._weighted(losses.mean(dim=(1, 2, 3)), noisy.timesteps) * weights).mean()

    def _distance(self, prediction: Tensor, noisy: Noisy) -> Tensor:
        kind, target = self.settings.loss, noisy.target
        if kind == "l2":
            return functional.mse_loss(prediction, target, reduction="none")
        if kind == "l1":
            return functional.l1_loss(prediction, target, reduction="none")
        bend = self._bend(noisy.timesteps).view(-1, 1, 1, 1)
        smooth = 2 * (((prediction - target) ** 2 + bend**2).sqrt() - bend)
        return bend * smooth if kind == "huber" else smooth

    def _bend(self, timesteps: Tensor) -> Tensor:
        """Where the loss turns from quadratic to linear, for each sample."""
        settings = self.settings
        if settings.huber_schedule == "exponential":
            return torch.exp(timesteps * (math.log(settings.huber_c) / STEPS)) * settings.huber_scale
        if settings.huber_schedule == "snr":
            sigmas = self._noise[timesteps] / self._signal[timesteps]
            return (1 - settings.huber_c) / (1 + sigmas) ** 2 + settings.huber_c
        return torch.full_like(timesteps, settings.huber_c * settings.huber_scale, dtype=torch.float32)

    def _weighted(self, losses: Tensor, timesteps: Tensor) -> Tensor:
        settings = self.settings
        snr = self._snr[timesteps]
        limited = snr.clamp(max=SNR_LIMIT)
        if settings.min_snr_gamma:
            low = snr.clamp(max=settings.min_snr_gamma)
            losses = losses * low / (snr + 1 if self.v_prediction else snr)
        if settings.scale_v_prediction and self.v_prediction:
            losses = losses * limited / (limited + 1)
        if settings.v_prediction_like_loss:
            losses = losses * (1 + settings.v_prediction_like_loss * (limited + 1) / limited)
        if settings.debiased_estimation:
            losses = losses / (limited + 1 if self.v_prediction else limited.sqrt())
        return losses
