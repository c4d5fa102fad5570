"""Opening an SD 1.5-layout single-file checkpoint of any width with diffusers, without any configuration file."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel

Weights = dict[str, torch.Tensor]

UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT = "cond_stage_model.transformer.text_model."


def load_checkpoint(path: Path) -> tuple[torch.nn.Module, torch.nn.Module, torch.nn.Module]:
    """UNet, autoencoder and text encoder of `path`, fp32, on the CPU; KeyError if it is no SD 1.5 checkpoint."""
    weights = {name: value.float() if value.is_floating_point() else value for name, value in load_file(path).items()}
    return _unet(weights), _vae(weights), _text_encoder(weights)


def _frozen(network: torch.nn.Module) -> torch.nn.Module:
    return network.eval().requires_grad_(False)


def _widths(weights: Weights, names: str) -> tuple[int, ...]:
    return tuple(weights[names.format(level)].shape[0] for level in range(4))


def _unet(weights: Weights) -> torch.nn.Module:
    first = tuple(weights[f"{UNET}input_blocks.{block}.0.in_layers.2.weight"].shape[0] for block in (1, 4, 7, 10))
    to_key = weights[f"{UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"]
    unet: Any = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=first,
        layers_per_block=2,
        cross_attention_dim=to_key.shape[1],
        attention_head_dim=8,
    )
    unet.load_state_dict(convert_ldm_unet_checkpoint(weights, dict(unet.config)))
    return _frozen(unet)


def _vae(weights: Weights) -> torch.nn.Module:
    vae: Any = AutoencoderKL(
        block_out_channels=_widths(weights, VAE + "encoder.down.{}.block.0.conv1.weight"),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=512,
        scaling_factor=0.18215,
    )
    vae.load_state_dict(convert_ldm_vae_checkpoint(weights, dict(vae.config)))
    return _frozen(vae)


def _text_encoder(weights: Weights) -> torch.nn.Module:
    vocabulary, width = weights[f"{TEXT}embeddings.token_embedding.weight"].shape
    layers = {name.split(".")[5] for name in weights if name.startswith(f"{TEXT}encoder.layers.")}
    encoder: Any = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=weights[f"{TEXT}encoder.layers.0.mlp.fc1.weight"].shape[0],
            num_hidden_layers=len(layers),
            num_attention_heads=max(1, width // 64),
            max_position_embeddings=weights[f"{TEXT}embeddings.position_embedding.weight"].shape[0],
            hidden_act="quick_gelu",
            projection_dim=width,
            bos_token_id=49406,
            eos_token_id=49407,
            pad_token_id=1,
        )
    )
    own = encoder.state_dict()
    found = convert_ldm_clip_checkpoint(weights)
    # transformers 5.6 dropped the text_model level from the names.
    if not any(name.startswith("text_model.") for name in own):
        found = {name.removeprefix("text_model."): value for name, value in found.items()}
    encoder.load_state_dict({name: value for name, value in found.items() if name in own})
    return _frozen(encoder)
