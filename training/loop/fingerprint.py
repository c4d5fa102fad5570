"""What decides the weights of a run, in one number."""

import hashlib
import json

from training.config import Config

NOT_DECISIVE = {"save", "sample", "log", "validation", "resources"}
"""Tables that may change between an interrupted run and its resume: they do not touch the weights."""


def fingerprint(config: Config, data: str) -> str:
    """What decides the weights: a checkpoint of one fingerprint cannot go on under another.

    `data` stands for the base model's and the pictures' content.
    """
    decisive = config.model_dump(mode="json", exclude=NOT_DECISIVE)
    for key in ("workers", "cache_folder", "vae_batch_size", "encode"):
        del decisive["data"][key]
    del decisive["train"]["nan_steps"]
    decisive["held back"] = [config.validation.share, str(config.validation.folder)]
    return hashlib.sha256(json.dumps([decisive, data], sort_keys=True).encode()).hexdigest()
