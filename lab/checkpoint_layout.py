"""Names and shapes of a Stable Diffusion 1.5 checkpoint in its original single-file layout, at any width.

The layout is that of CompVis' latent-diffusion as SD 1.5 uses it: a UNet of four levels with two residual
blocks each and attention on the upper three, a KL autoencoder of four levels, CLIP's text encoder.
"""

from collections.abc import Iterator
from dataclasses import dataclass

Shape = tuple[int, ...]
Named = Iterator[tuple[str, Shape]]

UNET = "model.diffusion_model"
VAE = "first_stage_model"
TEXT = "cond_stage_model.transformer.text_model"


@dataclass(frozen=True)
class Dimensions:
    """Widths of a checkpoint; the defaults are a tenth of SD 1.5's, so that every key of it exists."""

    unet: tuple[int, int, int, int] = (32, 64, 128, 128)
    vae: tuple[int, int, int, int] = (32, 64, 128, 128)
    text_width: int = 64
    text_layers: int = 2
    vocabulary: int = 49408
    context: int = 77


def names(size: Dimensions) -> Named:
    """Every tensor's name and shape, in a fixed order."""
    yield from _unet(size)
    yield from _vae(size)
    yield from _text(size)


def _affine(name: str, *shape: int) -> Named:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _conv(name: str, out: int, into: int, kernel: int = 3) -> Named:
    yield from _affine(name, out, into, kernel, kernel)


def _unet(size: Dimensions) -> Named:
    base, embed = size.unet[0], 4 * size.unet[0]
    yield from _affine(f"{UNET}.time_embed.0", embed, base)
    yield from _affine(f"{UNET}.time_embed.2", embed, embed)
    yield from _conv(f"{UNET}.input_blocks.0.0", base, 4)
    skips, width, index = [base], base, 1
    for level, out in enumerate(size.unet):
        for _ in range(2):
            yield from _unet_block(f"{UNET}.input_blocks.{index}", width, out, embed, size.text_width, level < 3)
            width = out
            skips.append(width)
            index += 1
        if level < 3:
            yield from _conv(f"{UNET}.input_blocks.{index}.0.op", width, width)
            skips.append(width)
            index += 1
    yield from _residual(f"{UNET}.middle_block.0", width, width, embed)
    yield from _transformer(f"{UNET}.middle_block.1", width, size.text_width)
    yield from _residual(f"{UNET}.middle_block.2", width, width, embed)
    index = 0
    for level, out in reversed(list(enumerate(size.unet))):
        for block in range(3):
            name = f"{UNET}.output_blocks.{index}"
            yield from _unet_block(name, width + skips.pop(), out, embed, size.text_width, level < 3)
            width = out
            if block == 2 and level:
                yield from _conv(f"{name}.{2 if level < 3 else 1}.conv", width, width)
            index += 1
    yield from _affine(f"{UNET}.out.0", width)
    yield from _conv(f"{UNET}.out.2", 4, width)


def _unet_block(name: str, into: int, out: int, embed: int, context: int, attends: bool) -> Named:
    yield from _residual(f"{name}.0", into, out, embed)
    if attends:
        yield from _transformer(f"{name}.1", out, context)


def _residual(name: str, into: int, out: int, embed: int) -> Named:
    yield from _affine(f"{name}.in_layers.0", into)
    yield from _conv(f"{name}.in_layers.2", out, into)
    yield from _affine(f"{name}.emb_layers.1", out, embed)
    yield from _affine(f"{name}.out_layers.0", out)
    yield from _conv(f"{name}.out_layers.3", out, out)
    if into != out:
        yield from _conv(f"{name}.skip_connection", out, into, 1)


def _transformer(name: str, width: int, context: int) -> Named:
    yield from _affine(f"{name}.norm", width)
    yield from _conv(f"{name}.proj_in", width, width, 1)
    block = f"{name}.transformer_blocks.0"
    for attention, source in (("attn1", width), ("attn2", context)):
        yield f"{block}.{attention}.to_q.weight", (width, width)
        yield f"{block}.{attention}.to_k.weight", (width, source)
        yield f"{block}.{attention}.to_v.weight", (width, source)
        yield from _affine(f"{block}.{attention}.to_out.0", width, width)
    yield from _affine(f"{block}.ff.net.0.proj", 8 * width, width)
    yield from _affine(f"{block}.ff.net.2", width, 4 * width)
    for norm in ("norm1", "norm2", "norm3"):
        yield from _affine(f"{block}.{norm}", width)
    yield from _conv(f"{name}.proj_out", width, width, 1)


def _vae(size: Dimensions) -> Named:
    first, last = size.vae[0], size.vae[-1]
    encoder, decoder = f"{VAE}.encoder", f"{VAE}.decoder"
    yield from _conv(f"{encoder}.conv_in", first, 3)
    width = first
    for level, out in enumerate(size.vae):
        for block in range(2):
            yield from _vae_block(f"{encoder}.down.{level}.block.{block}", width, out)
            width = out
        if level < 3:
            yield from _conv(f"{encoder}.down.{level}.downsample.conv", width, width)
    yield from _vae_middle(f"{encoder}.mid", width)
    yield from _affine(f"{encoder}.norm_out", width)
    yield from _conv(f"{encoder}.conv_out", 8, width)
    yield from _conv(f"{decoder}.conv_in", last, 4)
    yield from _vae_middle(f"{decoder}.mid", last)
    width = last
    for level, out in reversed(list(enumerate(size.vae))):
        for block in range(3):
            yield from _vae_block(f"{decoder}.up.{level}.block.{block}", width, out)
            width = out
        if level:
            yield from _conv(f"{decoder}.up.{level}.upsample.conv", width, width)
    yield from _affine(f"{decoder}.norm_out", width)
    yield from _conv(f"{decoder}.conv_out", 3, width)
    yield from _conv(f"{VAE}.quant_conv", 8, 8, 1)
    yield from _conv(f"{VAE}.post_quant_conv", 4, 4, 1)


def _vae_block(name: str, into: int, out: int) -> Named:
    yield from _affine(f"{name}.norm1", into)
    yield from _conv(f"{name}.conv1", out, into)
    yield from _affine(f"{name}.norm2", out)
    yield from _conv(f"{name}.conv2", out, out)
    if into != out:
        yield from _conv(f"{name}.nin_shortcut", out, into, 1)


def _vae_middle(name: str, width: int) -> Named:
    yield from _vae_block(f"{name}.block_1", width, width)
    yield from _affine(f"{name}.attn_1.norm", width)
    for part in ("q", "k", "v", "proj_out"):
        yield from _conv(f"{name}.attn_1.{part}", width, width, 1)
    yield from _vae_block(f"{name}.block_2", width, width)


def _text(size: Dimensions) -> Named:
    width = size.text_width
    yield f"{TEXT}.embeddings.position_ids", (1, size.context)
    yield f"{TEXT}.embeddings.token_embedding.weight", (size.vocabulary, width)
    yield f"{TEXT}.embeddings.position_embedding.weight", (size.context, width)
    for layer in range(size.text_layers):
        name = f"{TEXT}.encoder.layers.{layer}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            yield from _affine(f"{name}.self_attn.{part}", width, width)
        yield from _affine(f"{name}.layer_norm1", width)
        yield from _affine(f"{name}.mlp.fc1", 4 * width, width)
        yield from _affine(f"{name}.mlp.fc2", width, 4 * width)
        yield from _affine(f"{name}.layer_norm2", width)
    yield from _affine(f"{TEXT}.final_layer_norm", width)
