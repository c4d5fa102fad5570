"""Which runs may go on from which checkpoints: a fingerprint changes with the training, and with nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from training import kohya
from training.config import Config, parse_config
from training.loop.fingerprint import fingerprint

FILE = Path("/runs/cat/config.toml")
SOUND: dict[str, Any] = {"name": "cat", "model": {"checkpoint": "a.safetensors"}, "data": {"folder": "p"}}
KOHYA: dict[str, Any] = {
    "pretrained_model_name_or_path": "base.safetensors",
    "train_data_dir": "pictures",
    "resolution": "512,512",
    "max_train_steps": 1000,
    "seed": 1,
}


def of_model(**model: Any) -> Config:
    return parse_config(SOUND | {"model": {"checkpoint": "a.safetensors", **model}}, FILE)


@pytest.mark.parametrize("value", [100, 100.0, 0.25, 0])
@pytest.mark.parametrize("kind", ["toml", "json"])
def test_a_kohya_file_keeps_its_fingerprint_by_how_it_writes_warm_up(tmp_path: Path, value: float, kind: str) -> None:
    """Checkpoints of runs that began with 100.0 have it in their fingerprint as 100.0."""
    file = tmp_path / f"kohya.{kind}"
    values = KOHYA | {"lr_warmup_steps": value, "lr_decay_steps": value, "lr_scheduler": "warmup_stable_decay"}
    if kind == "json":
        file.write_text(json.dumps(values | {"LoRA_type": "Standard", "lr_warmup": 0}))
    else:
        file.write_text("".join(f"{key} = {json.dumps(item)}\n" for key, item in values.items()))
    found, _ = kohya.load_any(file, tmp_path)
    written = found.schedule.model_copy(update={"warmup_steps": value, "decay_steps": value})
    assert type(found.schedule.warmup_steps) is type(found.schedule.decay_steps) is type(value)
    same = found.model_copy(update={"schedule": written})
    assert fingerprint(found, "data", "sd1") == fingerprint(same, "data", "sd1")


def test_sdxl_with_a_clip_skip_that_has_no_effect_is_another_training_than_it_was() -> None:
    """Earlier trainers took the layer that clip_skip names for SDXL too; hashed is what only then differs."""
    for skip in range(1, 13):
        config = of_model(clip_skip=skip)
        same = fingerprint(config, "data", "sdxl") == fingerprint(config, "data", "sd1")
        assert same == (skip <= 2), skip
    assert fingerprint(of_model(clip_skip=3), "", "sdxl") != fingerprint(of_model(clip_skip=4), "", "sdxl")
