"""The estimate of a training's GPU memory, part by part, and of its operations. Imports without torch.

Checked against measurements on an H100 (tests/training/test_estimate.py has the figures): SD 1.5 and SDXL, this trainer
and three others, all within 10 %.
"""

from dataclasses import dataclass

from training.base import files
from training.config import Config
from training.errors import InputError
from training.memory.architectures import ARCHITECTURES, BETWEEN_LAYERS, MIB, TEXT, Architecture, Kind, SavedBytes
from training.sections.model import Family, Model
from training.sections.network import Network
from training.sections.optimisation import Optimizer, OptimizerKind, Train

GB = 1e9
WIDTHS = {"fp32": 4, "fp16": 2, "bf16": 2, "auto": 2}
"""Bytes of a number by train.precision; on GPUs auto is a half precision."""
WORKING = 150 * MIB
"""cuBLAS's workspace, temporary tensors of the backward pass, and the batch: measurements minus what was counted."""
CONTEXT = 500 * MIB
"""CUDA's context and the allocator's unused reserve, which torch does not count."""
CARDS = (8, 12, 16, 24, 48, 80)
"""Nominal GB of common cards."""
USABLE = 960 * MIB
"""Usable bytes per nominal GB: error correction and the driver take some (an A6000 has 46068 MiB of its 48 GB)."""
ENCODING, DECODING = 2572 * MIB, 3073 * MIB
"""The VAE's peak in fp32 at 1024 x 1024, counted on its architecture; both are proportional to the area."""
VAE_ENCODER = 130 * MIB
EIGHT_BIT = 1 + 4 / 256
"""bitsandbytes: one byte per number, and one scale per 256."""
STATE: dict[OptimizerKind, float] = {
    "AdamW": 8,
    "AdamW8bit": 2 * EIGHT_BIT,
    "Lion": 4,
    "Lion8bit": EIGHT_BIT,
    "PagedAdamW": 8,
    "PagedAdamW8bit": 2 * EIGHT_BIT,
    "PagedAdamW32bit": 8,
    "PagedLion8bit": EIGHT_BIT,
    "SGDNesterov8bit": EIGHT_BIT,
    "SGDNesterov": 4,
    "Adafactor": 1,
    "Prodigy": 16,
    "DAdaptation": 12,
    "DAdaptAdam": 12,
    "DAdaptAdamPreprint": 12,
    "DAdaptAdanIP": 20,
    "DAdaptAdaGrad": 12,
    "DAdaptAdan": 20,
    "DAdaptLion": 8,
    "DAdaptSGD": 12,
    "AdamWScheduleFree": 8,
    "SGDScheduleFree": 4,
    "RAdamScheduleFree": 8,
}
"""Bytes of optimiser state per trained weight."""
WHOLE_LOKR = 20
"""The rank from which LoKr's factors of the usual layers are full matrices and no longer grow."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on a GPU at the run's peak."""

    base: float
    """The frozen UNet; text encoders and VAE if they stay in memory."""
    trained: float
    """Trained weights, gradients, optimiser state, average."""
    activations: float
    """Tensors saved between forward and backward pass."""
    allocated: float
    """The peak that torch counts: of a step, of encoding pictures, or of drawing samples."""

    @property
    def card(self) -> float:
        """Free memory that a card must have."""
        return self.allocated + CONTEXT


def model_family(model: Model) -> Family | None:
    """The base model's family by the settings or the checkpoint's header; None if the file is not on this machine."""
    if model.family != "auto":
        return model.family
    try:
        return files.family_of(files.open_base(model.checkpoint))
    except InputError:
        return None


def likely_family(config: Config) -> Family:
    """The family, guessed from the resolution if the checkpoint is not on this machine (but on a host)."""
    width, height = config.data.resolution
    return model_family(config.model) or ("sdxl" if width * height >= 900 * 900 else "sd1")


def estimate_memory(config: Config, family: Family) -> MemoryEstimate:
    """GPU memory of one process of the run."""
    shape, train = ARCHITECTURES[family], config.train
    width, height = config.data.resolution
    pictures = train.batch_size * width * height / shape.side**2
    base = _base(config, shape)
    trained = trained_weights(config.network, shape) * _bytes_a_weight(train, config.optimizer)
    activations = _activations(config.network, train, shape, pictures)
    if config.network.text_encoder:
        activations += _text_activations(config.network, train, config.model.max_token_length, shape)
    step = base + trained + activations
    megapixel = width * height / 1024**2
    peak = max(step, VAE_ENCODER + ENCODING * megapixel * config.data.vae_batch_size)
    if config.sample.prompts or config.sample.prompts_file:
        peak = max(peak, base + trained + shape.vae_parameters * 4 + DECODING * megapixel)
    return MemoryEstimate(base, trained, activations, peak + WORKING)


def estimate_flop(config: Config, family: Family, pictures_shown: int) -> float:
    """Floating-point operations of a run that shows `pictures_shown` pictures in total."""
    shape = ARCHITECTURES[family]
    width, height = config.data.resolution
    # Checkpointing runs the forward pass twice.
    passes = 1.5 if config.train.gradient_checkpointing else 1.0
    return shape.flop * passes * pictures_shown * width * height / shape.side**2


def hours(operations: float, tera: float) -> float:
    """Time for `operations` at `tera` sustained TFLOP/s."""
    return operations / (tera * 1e12) / 3600


def fits(needed: float, gigabytes: int) -> bool:
    """Whether a card of nominal `gigabytes` has `needed` bytes."""
    return needed <= gigabytes * USABLE


def trained_weights(network: Network, shape: Architecture) -> float:
    """The number of trained weights."""
    rank = min(network.rank, WHOLE_LOKR) if network.kind == "lokr" else network.rank
    kind = _kind(network).removesuffix("+conv")
    total = 0.0
    if network.unet:
        total += rank * shape.trained[kind]  # type: ignore[index]
        total += (network.conv or 0) * shape.trained[f"{kind}+conv"]  # type: ignore[index]
    if network.text_encoder:
        # Per layer four square projections and two of the MLP (four times as wide), with a factor on either side.
        factors = 2 if network.kind == "loha" else 1
        total += factors * rank * sum(layers * 18 * width for layers, width in shape.text)
    return total


def _base(config: Config, shape: Architecture) -> float:
    width, data = WIDTHS[config.train.precision], config.data
    base = shape.parameters * width
    if config.model.storage == "fp8":
        base = shape.parameters - shape.unquantised + shape.unquantised * width
    captions = [data.captions, *(subset.captions for subset in data.subsets)]
    if config.network.text_encoder or data.cache_text is False or any(own.varies for own in captions):
        base += shape.text_parameters * width
    if not data.cache_latents or data.encode == "along":
        base += shape.vae_parameters * 4
    return base


def _bytes_a_weight(train: Train, optimizer: Optimizer) -> float:
    """The weight, its gradient, the optimiser's state and the average."""
    width = 4 if train.full_precision else WIDTHS[train.precision]
    state = STATE[optimizer.kind] * width / 4
    return width * (3 if train.ema_decay else 2) + state


def _activations(network: Network, train: Train, shape: Architecture, pictures: float) -> float:
    """Bytes saved for the UNet in a step."""
    kept = shape.half[_kind(network)]
    if train.precision == "fp32" or not train.full_precision:
        kept = _scaled(kept, shape.half["lora"], shape.single if train.precision == "fp32" else shape.low)
    if train.gradient_checkpointing:
        found = kept.fixed_checkpointing + kept.picture_checkpointing * pictures
    else:
        found = kept.fixed + kept.picture * pictures
    return found * MIB


def _text_activations(network: Network, train: Train, max_tokens: int, shape: Architecture) -> float:
    """Bytes saved for trained text encoders in a step; they compute in the base model's format."""
    width = WIDTHS[train.precision]
    kept = TEXT[_kind(network).removesuffix("+conv")]  # type: ignore[index]
    tokens = max_tokens / 75 * 77 * train.batch_size
    of_token, found = kept.single if width == 4 else kept.half, 0.0
    for layers, channels in shape.text:
        # Four square matrices and two of the MLP, four times as large.
        layer = of_token * channels * tokens + kept.matrices * width * 12 * channels**2
        if train.gradient_checkpointing:
            found += BETWEEN_LAYERS * width * channels * tokens * layers + layer
        else:
            found += layer * layers
    return found


def _scaled(kept: SavedBytes, lora: SavedBytes, other: SavedBytes) -> SavedBytes:
    """A network's counts in another precision, scaled like a LoRA's; the weights' part is unchanged."""
    factor = other.picture / lora.picture
    again = other.picture_checkpointing / lora.picture_checkpointing
    return SavedBytes(kept.fixed, kept.picture * factor, kept.fixed_checkpointing, kept.picture_checkpointing * again)


def _kind(network: Network) -> Kind:
    kind = "lora" if network.kind == "locon" else network.kind
    return f"{kind}+conv" if network.conv else kind  # type: ignore[return-value]
