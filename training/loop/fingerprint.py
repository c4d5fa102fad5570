"""A hash of everything that affects the weights of a run."""

import hashlib
import json

from training.config import Config
from training.sections.model import Family

NOT_DECISIVE = {"save", "sample", "log", "validation", "resources"}
"""Tables that may change before a resume: they do not affect the weights."""


def fingerprint(config: Config, data: str, family: Family) -> str:
    """A checkpoint can be resumed only with the same fingerprint.

    `data` is a hash of base model and pictures, `family` the base model's.
    """
    decisive = config.model_dump(mode="json", exclude=NOT_DECISIVE)
    for key in ("workers", "cache_folder", "vae_batch_size", "encode"):
        del decisive["data"][key]
    del decisive["train"]["nan_steps"]
    decisive["held back"] = [config.validation.share, str(config.validation.folder)]
    if not config.model.clip_skip_counts(family):
        # Earlier trainers took the layer that clip_skip names: their checkpoints are of another training.
        decisive["hidden layer"] = config.model.hidden_layer(family)
    return hashlib.sha256(json.dumps([decisive, data], sort_keys=True).encode()).hexdigest()
