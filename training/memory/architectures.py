"""Sizes of the released models and of what autograd saves for them, counted by tests/training/counting.py.

Counted on the meta device, without weights: real shapes, CUDA's autocast rules, attention as the fused kernels save it.
Saved bytes were counted with one and with two pictures; the increase is a picture's, the rest belongs to weights (LoHa,
LoKr and DoRA make matrices of a layer's size in every step).
"""

from dataclasses import dataclass
from typing import Literal

from training.sections.model import Family

MIB = 1 << 20
Kind = Literal["lora", "lora+conv", "dora", "dora+conv", "loha", "loha+conv", "lokr", "lokr+conv"]


@dataclass(frozen=True)
class SavedBytes:
    """What autograd saves in a step, in MiB: for the weights, and per picture of the family's usual size."""

    fixed: float
    picture: float
    fixed_checkpointing: float
    picture_checkpointing: float
    """With gradient checkpointing, including the largest part that is computed again."""


@dataclass(frozen=True)
class Architecture:
    """One family's UNet at its usual size."""

    side: int
    """Pixels."""
    parameters: float
    unquantised: float
    """Weights that stay in half precision when the base is in fp8: first and last layer, embeddings, norms, biases."""
    text: tuple[tuple[int, int], ...]
    """Layers and width of each text encoder."""
    text_parameters: float
    vae_parameters: float
    flop: float
    """Forward and backward pass of one picture, attention's own products (10 to 15 %) aside."""
    half: dict[Kind, SavedBytes]
    """Base in fp16 or bf16, trained weights in fp32, rank 16."""
    single: SavedBytes
    """A LoRA with all in fp32."""
    low: SavedBytes
    """A LoRA whose trained weights are in bf16 too."""
    trained: dict[Kind, float]
    """Trained weights of the UNet per rank; +conv: those of the 3x3 convolutions and residual blocks alone."""


@dataclass(frozen=True)
class TextSavedBytes:
    """What autograd saves for a trained layer of a CLIP text encoder (quick GELU); OpenCLIP's GELU saves 20 % less."""

    single: float
    """Bytes per token and channel, all in fp32."""
    half: float
    """The same, with the encoder in half precision."""
    matrices: float
    """Numbers of the encoder's format per weight of an adapted layer, for any batch size."""


TEXT: dict[Literal["lora", "dora", "loha", "lokr"], TextSavedBytes] = {
    "lora": TextSavedBytes(85, 50, 0),
    "dora": TextSavedBytes(157, 86, 1.8),
    "loha": TextSavedBytes(85, 64, 1),
    "lokr": TextSavedBytes(85, 66, 1),
}
BETWEEN_LAYERS = 2.1
"""Most numbers per token and channel that gradient checkpointing saves for a layer of a text encoder."""

ARCHITECTURES: dict[Family, Architecture] = {
    "sd1": Architecture(
        side=512,
        parameters=859_520_964,
        unquantised=2_514_884,
        text=((12, 768),),
        text_parameters=123_060_480,
        vae_parameters=83_653_863,
        flop=1.37e12,
        half={
            "lora": SavedBytes(13, 1252, 2, 303),
            "lora+conv": SavedBytes(31, 1379, 4, 323),
            "dora": SavedBytes(600, 2008, 9, 466),
            "dora+conv": SavedBytes(689, 2277, 15, 506),
            "loha": SavedBytes(473, 1504, 51, 386),
            "loha+conv": SavedBytes(1549, 1629, 207, 408),
            "lokr": SavedBytes(474, 1508, 51, 386),
            "lokr+conv": SavedBytes(1551, 1633, 208, 408),
        },
        single=SavedBytes(0, 1766, 0, 436),
        low=SavedBytes(1, 1182, 0, 275),
        trained={
            "lora": 423_936,
            "lora+conv": 626_880,
            "dora": 438_756,
            "dora+conv": 631_780,
            "loha": 847_872,
            "loha+conv": 1_253_760,
            "lokr": 21_358,
            "lokr+conv": 28_047,
        },
    ),
    "sd2": Architecture(
        side=512,
        parameters=865_910_724,
        unquantised=2_514_884,
        text=((23, 1024),),
        text_parameters=340_387_840,
        vae_parameters=83_653_863,
        flop=1.37e12,
        half={
            "lora": SavedBytes(13, 1211, 2, 261),
            "lora+conv": SavedBytes(31, 1336, 4, 279),
            "dora": SavedBytes(676, 1967, 59, 424),
            "dora+conv": SavedBytes(765, 2234, 65, 461),
            "loha": SavedBytes(473, 1463, 51, 344),
            "loha+conv": SavedBytes(1549, 1585, 207, 364),
            "lokr": SavedBytes(474, 1467, 51, 344),
            "lokr+conv": SavedBytes(1551, 1590, 208, 364),
        },
        single=SavedBytes(0, 1766, 0, 436),
        low=SavedBytes(1, 1162, 0, 256),
        trained={
            "lora": 432_128,
            "lora+conv": 626_880,
            "dora": 446_948,
            "dora+conv": 631_780,
            "loha": 864_256,
            "loha+conv": 1_253_760,
            "lokr": 21_730,
            "lokr+conv": 28_047,
        },
    ),
    "sdxl": Architecture(
        side=1024,
        parameters=2_567_463_684,
        unquantised=8_897_284,
        text=((12, 768), (32, 1280)),
        text_parameters=817_719_552,
        vae_parameters=83_653_863,
        flop=12.0e12,
        half={
            "lora": SavedBytes(74, 8449, 1, 842),
            "lora+conv": SavedBytes(86, 9078, 4, 985),
            "dora": SavedBytes(5785, 14_658, 83, 1100),
            "dora+conv": SavedBytes(5851, 15_845, 56, 1282),
            "loha": SavedBytes(3562, 10_780, 59, 1103),
            "loha+conv": SavedBytes(4199, 11_400, 153, 1321),
            "lokr": SavedBytes(3567, 10_822, 59, 1103),
            "lokr+conv": SavedBytes(4204, 11_442, 153, 1321),
        },
        single=SavedBytes(0, 12_864, 0, 1378),
        low=SavedBytes(2, 8007, 0, 842),
        trained={
            "lora": 2_659_840,
            "lora+conv": 414_400,
            "dora": 2_749_600,
            "dora+conv": 417_700,
            "loha": 5_319_680,
            "loha+conv": 828_800,
            "lokr": 120_618,
            "lokr+conv": 20_511,
        },
    ),
}
