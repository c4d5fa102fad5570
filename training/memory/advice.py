"""Settings that save GPU memory, the cheapest first, with the estimated saving of each."""

from collections.abc import Iterator
from dataclasses import dataclass

from training.config import Config
from training.memory.estimate import GB, estimate_memory, fits, likely_family
from training.sections.model import Family


@dataclass(frozen=True)
class Saving:
    """A setting that saves memory."""

    config: Config
    sentence: str
    """The setting as written in a config, and its cost."""
    saved: float
    """Bytes at the peak; negative if it saves nothing there."""


def out_of_memory_advice(config: Config) -> str:
    """The message for a run that ran out of memory."""
    family = likely_family(config)
    found = [
        f"{change.sentence} (saves {change.saved / GB:.1f} GB)"
        for change in savings(config, family)
        if change.saved >= 0.05 * GB
    ]
    return "out of memory; the last checkpoint is kept. Try, one after the other: " + "; ".join(found)


def savings(config: Config, family: Family) -> Iterator[Saving]:
    """Settings that save memory, the cheapest first, each by itself."""
    now = estimate_memory(config, family).card
    for changed, sentence in _settings(config):
        yield Saving(changed, sentence, now - estimate_memory(changed, family).card)


def savings_to_fit(config: Config, family: Family, gigabytes: int) -> list[Saving] | None:
    """The fewest changes, applied in order, with which a config fits a card; None if they do not suffice."""
    found: list[Saving] = []
    while not fits(estimate_memory(config, family).card, gigabytes):
        saving = [change for change in savings(config, family) if change.saved > 0]
        if not saving:
            return None
        enough = [change for change in saving if fits(estimate_memory(change.config, family).card, gigabytes)]
        found.append((enough or saving)[0])
        config = found[-1].config
    return found


def _settings(config: Config) -> Iterator[tuple[Config, str]]:
    train, width, height = config.train, *config.data.resolution
    if train.precision == "fp32":
        yield _with(config, train={"precision": "bf16"}), 'train.precision = "bf16"'
    if not train.gradient_checkpointing:
        yield _with(config, train={"gradient_checkpointing": True}), _CHECKPOINTING
    if config.network.text_encoder and config.network.unet:
        yield (
            _with(config, network={"text_encoder": False}),
            "network.text_encoder = false (the text encoders then leave the memory before the first step)",
        )
    if config.data.encode == "along":
        sentence = 'data.encode = "ahead" (the VAE then leaves the memory before the first step)'
        yield _with(config, data={"encode": "ahead"}), sentence
    if config.optimizer.kind in ("AdamW", "Lion"):
        name = f"{config.optimizer.kind}8bit"
        yield _with(config, optimizer={"kind": name}), f'optimizer.kind = "{name}"'
    if train.batch_size > 1:
        passes = train.accumulation * train.batch_size
        sentence = f"train.batch_size = 1 with train.accumulation = {passes} (the same result on average)"
        yield _with(config, train={"batch_size": 1, "accumulation": passes}), sentence
    if config.model.storage != "fp8" and config.network.kind != "dora":
        yield _with(config, model={"storage": "fp8"}), 'model.storage = "fp8" (the base model is less exact)'
    smaller = tuple(max(256, side * 3 // 4 // 64 * 64) for side in (width, height))
    if smaller[0] * smaller[1] < width * height:
        size = f"data.resolution = [{smaller[0]}, {smaller[1]}] instead of {width}x{height}"
        yield _with(config, data={"resolution": smaller}), size
    if config.network.rank > 4:
        half = config.network.rank // 2
        yield _with(config, network={"rank": half}), f"network.rank = {half}"


_CHECKPOINTING = "train.gradient_checkpointing = true (a step takes 1.4x the time)"
"""Measured with SD 1.5's UNet on a CPU."""


def _with(config: Config, **tables: dict[str, object]) -> Config:
    """The config with settings of its tables changed."""
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update=settings) for name, settings in tables.items()}
    )
