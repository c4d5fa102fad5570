"""What to change when memory runs out, the cheapest first, each with what the estimate says it saves."""

from training.config import Config
from training.memory import estimate


def advice(config: Config) -> str:
    """One sentence for a run that did not fit."""
    family = estimate.likely_family(config)
    found = [
        f"{change.sentence} (saves {change.saved / estimate.GB:.1f} GB)"
        for change in estimate.changes(config, family)
        if change.saved >= 0.05 * estimate.GB
    ]
    return "out of memory; the last checkpoint is kept. Try, one after the other: " + "; ".join(found)
