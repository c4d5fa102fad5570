"""`lora-train check`: checks config, pictures and model without training. Never imports torch."""

from collections.abc import Callable, Iterator
from pathlib import Path

from training.base import files, parts
from training.base.remarks import base_remarks
from training.config import Config, Model
from training.data import pictures, prompts
from training.data.order import BatchOrder
from training.errors import InputError
from training.memory import advice, estimate


def check_report(config: Config) -> str:
    """Pictures, sizes, length and memory of a run. Raises InputError with all problems of data and base model."""
    problems: list[str] = []
    for key, path in (("model.checkpoint", config.model.checkpoint), ("model.vae", config.model.vae)):
        if path is not None and not path.exists():
            problems.append(f"{key}: {path} does not exist{_hint(path)}")
    if config.model.checkpoint.exists():
        problems.extend(_of_base(config.model))
    found: list[pictures.Picture] = []
    try:
        found = pictures.find_pictures(config.data)
    except InputError as error:
        problems.extend(error.problems)
    try:
        prompts.sample_prompts(config.sample, config.data.resolution, config.train.seed)
    except InputError as error:
        problems.extend(error.problems)
    if problems:
        raise InputError(problems)
    shown = sum(picture.repeats for picture in found)
    sizes = sorted({picture.fit.size for picture in found})
    batches = len(BatchOrder(found, config.train.batch_size, config.train.seed))
    first = (
        f"{config.name}: {len(found)} pictures, {shown} shown an epoch in {batches} batches; "
        f"sizes {', '.join(f'{width}x{height}' for width, height in sizes)}"
    )
    return "\n".join([first, *_base_remarks(config), *_fitting(config)])


def _hint(path: Path) -> str:
    """What to do about a missing path that looks like a name: of a fleet's model, or OWNER/NAME of a model hub."""
    if path.suffix in (".safetensors", ".ckpt"):
        return ""
    if path.parent.exists():
        return "; a model's name in fleet.toml is known to `sdfleet train` alone: write the path of a file here"
    return f"; if {path.parent.name}/{path.name} is a model of a hub, download it and write the path of its file here"


def _base_remarks(config: Config) -> list[str]:
    """What the base model states or makes of the settings; it can be read."""
    source = files.open_base(config.model.checkpoint)
    return base_remarks(source, files.family_of(source), config.model, config.objective.zero_terminal_snr)


def _of_base(model: Model) -> list[str]:
    """Problems of the base model's header, of the VAE's, and of CLIP's vocabulary."""
    try:
        source = files.open_base(model.checkpoint)
        family = files.family_as_configured(model, source)
    except InputError as error:
        return list(error.problems)
    checks: list[Callable[[], object]] = [lambda: files.tokenizer_folder(model.tokenizer, source, "tokenizer")]
    if isinstance(source, files.TensorFile):
        checks += [lambda: parts.unet(source, family), lambda: parts.text_encoders(source, family)]
    vae = model.vae or model.checkpoint
    if vae.is_file():
        checks.append(lambda: parts.vae(files.TensorFile(vae), family))
    problems: list[str] = []
    for check in checks:
        try:
            check()
        except InputError as error:
            problems.extend(error.problems)
    return problems


def _fitting(config: Config) -> Iterator[str]:
    """Which common cards the run fits, and with which settings it would fit the others."""
    family = estimate.model_family(config.model)
    if family is None or config.train.device in ("cpu", "mps"):
        return
    memory = estimate.estimate_memory(config, family)
    parts = (("base model", memory.base), ("trained weights", memory.trained), ("step", memory.activations))
    shares = ", ".join(f"{name} {size / estimate.GB:.1f}" for name, size in parts)
    yield f"about {memory.card / estimate.GB:.1f} GB of GPU memory ({shares}; the rest is CUDA's and the encoders')"
    fitting = [card for card in estimate.CARDS if estimate.fits(memory.card, card)]
    if fitting:
        yield f"fits a card with {', '.join(map(str, fitting))} GB"
    for card in estimate.CARDS:
        if card in fitting:
            continue
        needed = advice.savings_to_fit(config, family, card)
        if needed is None:
            yield f"{card} GB: does not fit"
        else:
            last = estimate.estimate_memory(needed[-1].config, family).card / estimate.GB
            yield f"{card} GB: fits ({last:.1f} GB) with {', '.join(change.sentence for change in needed)}"
