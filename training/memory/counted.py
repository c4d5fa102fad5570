"""What was counted on the released UNets' architectures: tests/training/counting.py counts again.

On the meta device, without weights: real shapes, CUDA's autocast rules, attention as the fused kernels keep it. Bytes
that autograd keeps were counted with one and with two pictures; what grows is a picture's, the rest belongs to weights
(LoHa, LoKr and DoRA make matrices of a layer's size in every step).
"""

from dataclasses import dataclass
from typing import Literal

from training.sections.model import Family

MIB = 1 << 20
Kind = Literal["lora", "lora+conv", "dora", "dora+conv", "loha", "loha+conv", "lokr", "lokr+conv"]


@dataclass(frozen=True)
class Kept:
    """What a step keeps, in MiB: of the weights, and of each picture of the family's usual size."""

    fixed: float
    picture: float
    fixed_checkpointing: float
    picture_checkpointing: float
    """With gradient checkpointing, the largest part that is computed again included."""


@dataclass(frozen=True)
class Architecture:
    """One family's UNet at its usual size."""

    side: int
    """Pixels."""
    parameters: float
    unquantised: float
    """Weights that stay in half precision when the base is in fp8: ends, embeddings, norms, biases."""
    text: tuple[tuple[int, int], ...]
    """Layers and width of each text encoder."""
    text_parameters: float
    vae_parameters: float
    flop: float
    """Forward and backward pass of one picture, attention's own products (10 to 15 %) aside."""
    half: dict[Kind, Kept]
    """Base in fp16 or bf16, trained weights in fp32, rank 16."""
    single: Kept
    """A LoRA with all in fp32."""
    low: Kept
    """A LoRA whose trained weights are in bf16 too."""
    trained: dict[Kind, float]
    """Trained weights of the UNet for each rank; of +conv those of the 3x3 convolutions and residual blocks alone."""


@dataclass(frozen=True)
class TextKept:
    """What a step keeps of a trained text encoder's layer, by CLIP's quick GELU; OpenCLIP's GELU keeps a fifth less."""

    single: float
    """Bytes of a token and channel, all in fp32."""
    half: float
    """The same, with the encoder in half precision."""
    matrices: float
    """Numbers of the encoder's format for each weight of an adapted layer, whatever the batch."""


TEXT: dict[Literal["lora", "dora", "loha", "lokr"], TextKept] = {
    "lora": TextKept(85, 50, 0),
    "dora": TextKept(157, 86, 1.8),
    "loha": TextKept(85, 64, 1),
    "lokr": TextKept(85, 66, 1),
}
BETWEEN_LAYERS = 2.1
"""Numbers of a token and channel that gradient checkpointing keeps of a text encoder's layer at most."""

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
            "lora": Kept(13, 1252, 2, 303),
            "lora+conv": Kept(31, 1379, 4, 323),
            "dora": Kept(600, 2008, 9, 466),
            "dora+conv": Kept(689, 2277, 15, 506),
            "loha": Kept(473, 1504, 51, 386),
            "loha+conv": Kept(1549, 1629, 207, 408),
            "lokr": Kept(474, 1508, 51, 386),
            "lokr+conv": Kept(1551, 1633, 208, 408),
        },
        single=Kept(0, 1766, 0, 436),
        low=Kept(1, 1182, 0, 275),
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
            "lora": Kept(13, 1211, 2, 261),
            "lora+conv": Kept(31, 1336, 4, 279),
            "dora": Kept(676, 1967, 59, 424),
            "dora+conv": Kept(765, 2234, 65, 461),
            "loha": Kept(473, 1463, 51, 344),
            "loha+conv": Kept(1549, 1585, 207, 364),
            "lokr": Kept(474, 1467, 51, 344),
            "lokr+conv": Kept(1551, 1590, 208, 364),
        },
        single=Kept(0, 1766, 0, 436),
        low=Kept(1, 1162, 0, 256),
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
            "lora": Kept(74, 8449, 1, 842),
            "lora+conv": Kept(86, 9078, 4, 985),
            "dora": Kept(5785, 14_658, 83, 1100),
            "dora+conv": Kept(5851, 15_845, 56, 1282),
            "loha": Kept(3562, 10_780, 59, 1103),
            "loha+conv": Kept(4199, 11_400, 153, 1321),
            "lokr": Kept(3567, 10_822, 59, 1103),
            "lokr+conv": Kept(4204, 11_442, 153, 1321),
        },
        single=Kept(0, 12_864, 0, 1378),
        low=Kept(2, 8007, 0, 842),
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
