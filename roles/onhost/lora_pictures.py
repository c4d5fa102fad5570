"""Pictures by which one sees whether an application that draws applies a LoRA: without it, with it, and at weight 0."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from roles.onhost import comfyui_api, comfyui_picture, webui_picture
from roles.onhost.drawing_applications import APPLICATIONS
from roles.onhost.png_pixels import PictureError

WEIGHTS: Mapping[str, float | None] = {"without": None, "with": 1.0, "zero": 0.0}
"""Name of each picture -> the LoRA's weight; None for a picture without it."""
GUIDANCE = 7.0


@dataclass(frozen=True)
class Order:
    """What is drawn; the same for each of the pictures, but for the LoRA."""

    lora: str
    """Its name, which is that of its file without the ending."""
    suffix: str
    """The ending of its file."""
    base: str
    """Name of the model that it was trained on; it is drawn with if it is there."""
    prompt: str
    seed: int
    side: int
    steps: int


class Draw(Protocol):
    """Has an application on a port draw within `seconds`; returns a PNG. Raises PictureError or AnswerError."""

    def __call__(
        self, port: int, seconds: float, order: Order, checkpoint: str, weight: float | None, convert: Sequence[str]
    ) -> bytes: ...


def pictures(
    role: str, port: int, seconds: float, order: Order, convert: Sequence[str]
) -> tuple[str, dict[str, bytes]]:
    """The checkpoint that was drawn with, and the three pictures by name.

    + seconds: for all of them together
    + convert: the words before a program that converts a picture: a Python with Pillow
    Raises PictureError or AnswerError.
    """
    deadline = time.monotonic() + seconds
    app = APPLICATIONS[role]
    checkpoint = chosen(app.checkpoints(port, seconds), order.base, app.loaded(port, seconds))
    drawn: dict[str, bytes] = {}
    for name, weight in WEIGHTS.items():
        left = deadline - time.monotonic()
        if left <= 0:
            raise PictureError(f"{len(drawn)} of {len(WEIGHTS)} pictures were drawn within {seconds:g} s")
        drawn[name] = DRAW[role](port, left, order, checkpoint, weight, convert)
    return checkpoint, drawn


def chosen(checkpoints: Sequence[str], base: str, loaded: str) -> str:
    """The checkpoint named `base`, else the one in use, else the first. Raises PictureError if there is none."""
    if not checkpoints:
        raise PictureError("it has no checkpoint")
    # One and the same checkpoint is told with the hash of its file and without.
    in_use = next((title for title in checkpoints if _without_hash(title) == _without_hash(loaded)), checkpoints[0])
    return next((title for title in (in_use, *checkpoints) if name_of(title) == base), in_use)


def name_of(checkpoint: str) -> str:
    """The name of the file that an application calls FOLDER/NAME.safetensors, perhaps with a hash behind it."""
    return PurePosixPath(_without_hash(checkpoint)).stem


def _without_hash(checkpoint: str) -> str:
    return checkpoint.partition(" [")[0]


def _webui(
    port: int, seconds: float, order: Order, checkpoint: str, weight: float | None, convert: Sequence[str]
) -> bytes:
    tag = "" if weight is None else f" <lora:{order.lora}:{weight:g}>"
    request = {
        "prompt": order.prompt + tag,
        "sampler_name": "Euler",
        "steps": order.steps,
        "seed": order.seed,
        "cfg_scale": GUIDANCE,
        "width": order.side,
        "height": order.side,
        # For this picture alone: it loads the model of before again.
        "override_settings": {"sd_model_checkpoint": checkpoint},
    }
    return webui_picture.as_png(webui_picture.draw(port, seconds, request), convert)


def _comfyui(
    port: int, seconds: float, order: Order, checkpoint: str, weight: float | None, convert: Sequence[str]
) -> bytes:
    nodes = comfyui_picture.graph(checkpoint, order.prompt, order.steps, order.seed, order.side, GUIDANCE)
    if weight is not None:
        nodes = comfyui_picture.with_lora(nodes, order.lora + order.suffix, weight)
    return comfyui_picture.draw(port, seconds, nodes)


DRAW: Mapping[str, Draw] = {"webui": _webui, "comfyui": _comfyui}
"""By the names of their roles, as APPLICATIONS."""

UNREAD = {comfyui_api.UNIT: "lora key not loaded: "}
"""Unit -> how the line of its log begins that names a key of a LoRA which it does not read; others write none."""


def unread(lines: Sequence[str], unit: str) -> list[str]:
    """The keys that an application says, in lines of its log, that it did not read."""
    mark = UNREAD.get(unit)
    return sorted({line.partition(mark)[2].strip() for line in lines if mark in line}) if mark else []
