"""Options of the models: attention, gradient checkpointing, memory layout, mode, frozen layers, dropout."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from training import rng
from training.errors import InputError
from training.lora.network import Layer
from training.sections.network import Network
from training.sections.optimisation import Train


def set_training_mode(models: Sequence[nn.Module], *, training: bool) -> None:
    """Switch the models between training and evaluation mode."""
    for model in models:
        model.train(training)


def configure_models(
    settings: Train, device: torch.device, unet: nn.Module, encoders: Sequence[nn.Module], say: Callable[[str], None]
) -> None:
    """Configure the models for training on `device`. Raises InputError if xformers cannot be used."""
    set_training_mode((unet, *encoders), training=True)
    if settings.gradient_checkpointing:
        unet.enable_gradient_checkpointing()  # type: ignore[operator]
        for encoder in encoders:
            encoder.gradient_checkpointing_enable()  # type: ignore[operator]
    if settings.attention == "plain":
        from diffusers.models.attention_processor import AttnProcessor

        unet.set_attn_processor(AttnProcessor())  # type: ignore[operator]
    elif settings.attention == "xformers" and settings.deterministic and device.type == "cuda":
        say("attention by sdpa: xformers may give other bits each time; train.deterministic = false takes it")
    elif settings.attention == "xformers":
        try:
            unet.enable_xformers_memory_efficient_attention()  # type: ignore[operator]
        except ModuleNotFoundError as error:
            raise InputError(
                'train.attention = "xformers", but this environment has no xformers; install it, or set "sdpa", which '
                "is as fast"
            ) from error
        except (ImportError, ValueError, RuntimeError) as error:  # built for another torch, or not for this card
            raise InputError(
                f'train.attention: xformers cannot be used ({error}); set "sdpa", which is as fast'
            ) from error
    if settings.channels_last:
        unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def freeze(layers: Sequence[Layer]) -> None:
    for layer in layers:
        for parameter in layer.parts.values():
            parameter.requires_grad_(False)


def seed_dropout(network: Network, seed: int, number: int) -> None:
    """Dropout draws from torch's global generator: seed it for every forward pass."""
    if network.dropout or network.rank_dropout or network.module_dropout:
        torch.manual_seed(rng.key(seed, "dropout", number))
