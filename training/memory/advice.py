"""Settings that save GPU memory, the cheapest first, with the estimated saving of each."""

from training.config import Config
from training.memory import estimate


def out_of_memory_advice(config: Config) -> str:
    """The message for a run that ran out of memory."""
    family = estimate.likely_family(config)
    found = [
        f"{change.sentence} (saves {change.saved / estimate.GB:.1f} GB)"
        for change in estimate.savings(config, family)
        if change.saved >= 0.05 * estimate.GB
    ]
    return "out of memory; the last checkpoint is kept. Try, one after the other: " + "; ".join(found)
