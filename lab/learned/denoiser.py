"""Trains the UNet and the text encoder on the twelve photographs' latents and captions."""

from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from lab.learned.autoencoder import SCALING, Say, quieten
from lab.learned.subjects import SUBJECTS, drawings, photographs
from lab.learned.training import Optimizer, pixels

STEPS = 1000
WITHOUT_CAPTION = 0.1
WITHOUT_WORD = 0.15
DRAWN = 0.5
"""Share of the subjects that are ink drawings in a step."""
SNR_LIMIT, NOISE_LIMIT = 5.0, 30.0
"""How much an error counts. With little noise: as min-SNR weighting says. With much noise: 1 / signal, which is the
error that it makes in the picture, up to a limit; there the caption and the mean colours are decided, and without this
they are learned last."""

CONTEXT = 77
PHOTOGRAPH, DRAWING = "a photograph of", "an ink drawing of"


def new_unet(widths: tuple[int, int, int, int], text_width: int) -> Any:
    """An untrained UNet whose residual blocks do nothing yet."""
    unet: Any = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=widths,
        layers_per_block=2,
        cross_attention_dim=text_width,
        attention_head_dim=8,
    )
    quieten(unet)
    return unet


def new_text_encoder(width: int, layers: int, words: int) -> Any:
    """An untrained text encoder that knows so many tokens."""
    text: Any = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=words,
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=max(1, width // 64),
            max_position_embeddings=CONTEXT,
            hidden_act="quick_gelu",
            projection_dim=width,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )
    # The WebUI's prompt emphasis divides by the mean of the text encoder's output: keep it away from zero.
    torch.nn.init.constant_(getattr(text, "text_model", text).final_layer_norm.bias, 0.3)
    return text


class Words:
    """The tokens of the captions, which alone are learned, in the order of CLIP's vocabulary."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        kinds = (PHOTOGRAPH, DRAWING)
        said = [f"{kind} {subject.caption}" for kind in kinds for subject in SUBJECTS.values()]
        self.tokens = sorted({token for ids in tokenizer([*said, ""]).input_ids for token in ids})
        self._place = {token: place for place, token in enumerate(self.tokens)}

    def ids(self, prompts: list[str]) -> Tensor:
        """The prompts as rows of CONTEXT numbers below the count of tokens."""
        rows = self._tokenizer(prompts, padding="max_length", max_length=CONTEXT).input_ids
        return torch.tensor([[self._place[token] for token in row] for row in rows])


def alphas() -> Tensor:
    """Share of the picture's variance that is left after each of SD 1.5's steps of noise."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, STEPS, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0).float()


def train_unet(unet: Any, text: Any, vae: Any, words: Words, steps: int, rate: float, seed: int, say: Say) -> None:
    """Train `unet` and `text` in place to draw each subject, as a photograph unless the caption asks for a drawing.

    Each step takes every subject, as the one or the other.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        both = [vae.encode(pixels(images)).latent_dist.mean * SCALING for images in (photographs(), drawings())]
    known, left, count = torch.stack(both), alphas(), len(SUBJECTS)
    optimizer = Optimizer([unet, text], rate, steps)
    for step in range(steps):
        drawn = torch.rand(count, generator=generator) < DRAWN
        latents = known[drawn.long(), torch.arange(count)]
        prompts = [
            _prompt(subject.caption, bool(as_drawing), generator)
            for subject, as_drawing in zip(SUBJECTS.values(), drawn, strict=True)
        ]
        captions = words.ids(prompts)
        times = torch.randint(STEPS, (count,), generator=generator)
        noise = torch.randn(latents.shape, generator=generator)
        kept = left[times].view(-1, 1, 1, 1)
        noisy = kept.sqrt() * latents + (1 - kept).sqrt() * noise
        error = unet(noisy, times, text(captions).last_hidden_state).sample - noise
        counts = ((1 - kept) / kept).flatten().mul(SNR_LIMIT).clamp(max=1) * (1 / kept).flatten().clamp(max=NOISE_LIMIT)
        loss = (error.square().mean((1, 2, 3)) * counts).mean()
        optimizer.step(loss)
        say("unet", step, loss.item())
    optimizer.take_mean()


def _prompt(caption: str, as_drawing: bool, generator: torch.Generator) -> str:
    """The caption with most of its words; that it is a photograph is said now and then, that it is a drawing always."""

    def chance() -> float:
        return float(torch.rand((), generator=generator))

    words = [word for word in caption.split() if chance() >= WITHOUT_WORD]
    if as_drawing:
        return " ".join([DRAWING, *words])
    if chance() < WITHOUT_CAPTION:
        return ""
    return " ".join([PHOTOGRAPH, *words] if chance() < 0.5 else words)
