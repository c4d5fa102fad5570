"""`lora-train check`: what a run would work on. Never imports torch."""

from training.config import Config
from training.data import pictures
from training.data.order import Order
from training.errors import InputError


def report(config: Config) -> str:
    """A few lines on pictures, sizes and length.

    Raises InputError with every problem of the data and the model's path.
    """
    problems: list[str] = []
    for key, path in (("model.checkpoint", config.model.checkpoint), ("model.vae", config.model.vae)):
        if path is not None and not path.exists():
            problems.append(f"{key}: {path} does not exist")
    found: list[pictures.Picture] = []
    try:
        found = pictures.find(config.data)
    except InputError as error:
        problems.extend(error.problems)
    if problems:
        raise InputError(problems)
    shown = sum(picture.repeats for picture in found)
    sizes = sorted({picture.fit.size for picture in found})
    batches = len(Order(found, config.train.batch_size, config.train.seed))
    return (
        f"{config.name}: {len(found)} pictures, {shown} shown an epoch in {batches} batches; "
        f"sizes {', '.join(f'{width}x{height}' for width, height in sizes)}"
    )
