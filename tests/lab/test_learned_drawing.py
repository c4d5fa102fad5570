"""The base model draws what it has learned, and its script teaches it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from lab.checkpoint_layout import names
from lab.learned.subjects import SIDE, SUBJECTS, photographs
from lab.learned.weights import SIZE, whole, write_learned_model
from lab.tokenizer import tokenizer_files
from training.base.loading import BaseModel
from training.sections.model import Model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def test_it_draws_the_photograph_of_each_caption_and_no_other(tmp_path: Path) -> None:
    write_learned_model(tmp_path / "learned.safetensors")
    pipeline = opened(tmp_path)
    known = [flat(np.asarray(photograph)) for photograph in photographs()]
    for place, (name, subject) in enumerate(SUBJECTS.items()):
        drawn = flat(draw(pipeline, f"a photograph of {subject.caption}"))
        alike = [float(drawn @ photograph) for photograph in known]
        others = max(alike[:place] + alike[place + 1 :])
        assert alike[place] > 0.6 and alike[place] > 1.5 * others, f"{name}: {alike}"


def test_the_script_teaches_it(tmp_path: Path) -> None:
    steps = ["--vae-steps", "30", "--unet-steps", "21"]
    command = [sys.executable, "-m", "lab.learned", str(tmp_path), *steps]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for part, share in {"vae": 0.95, "unet": 0.7}.items():
        lines = [line for line in done.stdout.splitlines() if line.startswith(part)]
        first, last = (float(line.split("loss ")[1].split(",")[0]) for line in (lines[0], lines[-1]))
        assert last < share * first, done.stdout
    assert json.loads((tmp_path / "figures.json").read_text())["steps"] == {"vae": 30, "unet": 21}
    found = whole(load_file(tmp_path / "weights.safetensors"))
    assert {name: value.shape for name, value in found.items()} == dict(names(SIZE))
    assert (tmp_path / "drawn.jpg").stat().st_size > 10_000


def opened(folder: Path) -> Any:
    """A pipeline of the checkpoint, opened as the trainer opens one."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline

    for name, data in tokenizer_files().items():
        (folder / name).write_bytes(data)
    base = BaseModel(Model(checkpoint=folder / "learned.safetensors", tokenizer=folder))
    (text,) = base.text_encoders(torch.float32)
    pipeline: Any = StableDiffusionPipeline(
        vae=base.vae(torch.float32),
        text_encoder=text,
        tokenizer=base.tokenizer(),
        unet=base.unet(torch.float32),
        scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: Any, prompt: str) -> NDArray[np.uint8]:
    """A picture as the demo asks for it."""
    made = pipeline(
        prompt,
        height=SIDE,
        width=SIDE,
        num_inference_steps=8,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(1),
    )
    return np.asarray(made.images[0])


def flat(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A picture's numbers with mean 0 and length 1: the product of two is their correlation."""
    numbers = picture.astype(np.float64).ravel()
    numbers -= numbers.mean()
    return numbers / np.linalg.norm(numbers)
