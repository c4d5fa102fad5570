"""What a training costs in memory and arithmetic, from the family's architecture. Imports without torch.

Counted on the released UNets' architectures (diffusers' configs, LoRA of rank 16 on kohya's attention targets, fp32,
batch 1) without their weights, with torch's flop counter and the tensors that autograd keeps; both are proportional to
the picture's area. tests/training/test_costs.py counts again. Attention's own products (some 10 to 15 %) are not among
the operations, since the counter does not know the fused kernels. Not measured on a GPU.
"""

from dataclasses import dataclass

from training.config import Config
from training.sections.model import Family

GIB = 1 << 30
MIB = 1 << 20
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "auto": 2}
CONTEXT = 600 * MIB
"""CUDA context and the allocator's slack: a guess, not measured."""


@dataclass(frozen=True)
class Architecture:
    """One family's UNet at its usual size."""

    side: int
    """Pixels."""
    parameters: float
    flop: float
    """Forward and backward pass of one picture."""
    kept: float
    """Bytes that autograd keeps of one picture in fp32."""
    kept_checkpointing: float
    """The same with gradient checkpointing, the largest part computed again included."""
    others: float
    """Weights of text encoders and VAE, which stay loaded if captions or latents are encoded in the step."""
    per_rank: float
    """Trained weights of the UNet's attention targets for each rank."""


ARCHITECTURES: dict[Family, Architecture] = {
    "sd1": Architecture(512, 859.5e6, 1.37e12, 1766 * MIB, (293 + 208) * MIB, 207e6, 423_936),
    "sd2": Architecture(512, 865.9e6, 1.37e12, 1766 * MIB, (293 + 208) * MIB, 424e6, 432_128),
    "sdxl": Architecture(1024, 2567.5e6, 12.0e12, 12863 * MIB, (1094 + 1479) * MIB, 901e6, 2_659_840),
}


@dataclass(frozen=True)
class Costs:
    """What one run takes."""

    memory: float
    """Peak bytes of GPU memory while steps are made."""
    flop: float
    """Operations of all steps."""

    def hours(self, tera: float) -> float:
        """Time at `tera` sustained TFLOP/s."""
        return self.flop / (tera * 1e12) / 3600


def costs(config: Config, family: Family, pictures_shown: int) -> Costs:
    """The costs of a run that shows `pictures_shown` pictures in all, its UNet's attention trained."""
    shape = ARCHITECTURES[family]
    width, height = config.data.resolution
    area = width * height / shape.side**2
    scale = BYTES[config.train.precision]
    weights = shape.parameters * scale
    data = config.data
    if not data.cache_latents or data.encode == "along" or data.captions.vary or config.network.text_encoder:
        weights += shape.others * scale
    state = config.network.rank * shape.per_rank * (4 + 4 + 8)  # the weight, its gradient, AdamW's two moments, fp32
    kept = shape.kept_checkpointing if config.train.gradient_checkpointing else shape.kept
    activations = kept * scale / 4 * area * config.train.batch_size
    # Checkpointing makes the forward pass twice.
    flop = shape.flop * area * pictures_shown * (1.5 if config.train.gradient_checkpointing else 1.0)
    return Costs(weights + state + activations + CONTEXT, flop)
