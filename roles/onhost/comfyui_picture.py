"""Have ComfyUI draw one small picture, and print as JSON how long it took and what it hashes to.

Exits 1 with one sentence if there is none, or if all its pixels are alike, as those of a model that computes NaN are.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import Any
from urllib.parse import urlencode

from roles.onhost import comfyui_api, loopback
from roles.onhost.png_pixels import LARGEST, PictureError, judged, program

LOOK_SECONDS = 0.2
ANSWER_SECONDS = 60.0
"""While it loads a model it answers late."""
PREVIEW = "7"
"""The node of the graph that has the picture: it lies in a folder that is emptied at each start."""


CHECKPOINT, SAMPLER, LORA = "1", "5", "8"
TEXTS = ("2", "3")


def graph(checkpoint: str, prompt: str, steps: int, seed: int, side: int = 64, guidance: float = 1.0) -> dict[str, Any]:
    """What to draw, as ComfyUI's API has it: the same picture each time; at a guidance of 1, drawn each time.

    An unchanged node is not computed again. So the text of what should not be in the picture changes, which at a
    guidance of 1 is not used.
    """
    nodes = [
        ("CheckpointLoaderSimple", {"ckpt_name": checkpoint}),
        ("CLIPTextEncode", {"text": prompt, "clip": ["1", 1]}),
        ("CLIPTextEncode", {"text": uuid.uuid4().hex if guidance == 1 else "", "clip": ["1", 1]}),
        ("EmptyLatentImage", {"width": side, "height": side, "batch_size": 1}),
        (
            "KSampler",
            {
                "seed": seed,
                "steps": steps,
                "cfg": guidance,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
                "model": ["1", 0],
                "positive": ["2", 0],
                "negative": ["3", 0],
                "latent_image": ["4", 0],
            },
        ),
        ("VAEDecode", {"samples": ["5", 0], "vae": ["1", 2]}),
        ("PreviewImage", {"images": ["6", 0]}),
    ]
    return {str(number): {"class_type": kind, "inputs": given} for number, (kind, given) in enumerate(nodes, 1)}


def with_lora(nodes: dict[str, Any], file: str, weight: float) -> dict[str, Any]:
    """The same with a LoRA, for the UNet and the text encoder."""
    both = {"model": [CHECKPOINT, 0], "clip": [CHECKPOINT, 1]}
    inputs = {**both, "lora_name": file, "strength_model": weight, "strength_clip": weight}
    found = {**nodes, LORA: {"class_type": "LoraLoader", "inputs": inputs}}
    for number, changes in [(SAMPLER, {"model": [LORA, 0]}), *((text, {"clip": [LORA, 1]}) for text in TEXTS)]:
        found[number] = {**found[number], "inputs": {**found[number]["inputs"], **changes}}
    return found


def draw(port: int, seconds: float, wanted: dict[str, Any]) -> bytes:
    """The PNG of a graph's node PREVIEW, drawn before what else waits. Raises PictureError."""
    deadline = time.monotonic() + seconds
    try:
        order = str(comfyui_api.ask(port, "/prompt", {"prompt": wanted, "front": True}, seconds)["prompt_id"])
        told = _ended(port, order, deadline)
        shown = urlencode({key: told[key] for key in ("filename", "subfolder", "type")})
        return loopback.ask(port, f"/view?{shown}", seconds=seconds, largest=2 * LARGEST)
    except loopback.AnswerError as error:
        raise PictureError(f"ComfyUI drew nothing, it {error}") from error
    except (LookupError, TypeError, AttributeError) as error:
        raise PictureError(f"ComfyUI drew nothing: it answered without {error}") from error


def _ended(port: int, order: str, deadline: float) -> Any:
    """Where the picture of an order is, when it is drawn. Raises PictureError if it is not."""
    while not (found := comfyui_api.ask(port, f"/history/{order}", seconds=ANSWER_SECONDS)):
        if time.monotonic() > deadline:
            _quietly(port, "/queue", {"delete": [order]})
            _quietly(port, "/interrupt", {"prompt_id": order})
            raise PictureError("ComfyUI drew nothing in time")
        time.sleep(LOOK_SECONDS)
    _quietly(port, "/history", {"delete": [order]})  # which people see
    status = found[order]["status"]
    if status["status_str"] != "success":
        raise PictureError(f"ComfyUI drew nothing: {_why(status['messages'])}")
    return found[order]["outputs"][PREVIEW]["images"][0]


def _why(messages: Any) -> str:
    for kind, about in messages:
        if kind == "execution_error":
            said = " ".join(str(about["exception_message"]).split())
            return f"{about['node_type']}: {about['exception_type']}: {said}"[:500]
    return "it does not say why"


def _quietly(port: int, path: str, body: dict[str, Any]) -> None:
    with contextlib.suppress(loopback.AnswerError):
        comfyui_api.tell(port, path, body)


def first(port: int, seconds: float) -> dict[str, Any]:
    """How many seconds a picture of the first checkpoint took, and its sha256. PictureError if there is none."""
    try:
        name = comfyui_api.checkpoints(port, seconds)[0]
    except (loopback.AnswerError, IndexError) as error:
        raise PictureError(f"ComfyUI has no checkpoint: {error}") from error
    wanted = graph(name, "a red apple on a table", 1, 1)
    return judged(lambda: draw(port, seconds, wanted), f"the flag fp32_vae or another checkpoint than {name}")


def main() -> None:
    """Draw and judge."""
    program(__doc__, first)
