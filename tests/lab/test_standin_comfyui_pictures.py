"""What the stand-in ComfyUI draws, and which LoRAs it applies: as the genuine one does."""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from deploy.rollout.gates import difference
from lab.checkpoint_layout import Dimensions
from lab.models import write_base_model
from lab.tokenizer import tokenizer_files
from roles.onhost import comfyui_api
from roles.onhost.lora_pictures import Order, pictures, unread
from tests.lab import comfyui
from tests.lab.comfyui import GENUINE, START, Comfy, command, graph

pytestmark = pytest.mark.slow

SMALL = Dimensions(unet=(32, 32, 64, 64), vae=(32, 32, 64, 64))
TAKEN = Dimensions(unet=(320, 320, 320, 320), vae=(128, 256, 512, 512), text_width=768, text_layers=12)
"""The smallest that the genuine one takes for SD 1.5."""
SIZE = TAKEN if GENUINE else SMALL
ATTENTION = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v"


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its code, with the tokenizer."""
    code = comfyui.code(tmp_path_factory.mktemp("code"))
    for name, content in {} if GENUINE else tokenizer_files().items():
        file = code / "comfy/sd1_tokenizer" / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
    return code


@pytest.fixture(scope="module")
def artist(code: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comfy]:
    """A running one with a base model."""
    extra = tmp_path_factory.mktemp("extra")
    write_base_model(extra / "checkpoints/base.safetensors", SIZE)
    with comfyui.running(code, tmp_path_factory.mktemp("base"), extra) as running:
        yield running


def write_lora(path: Path, names: tuple[str, str]) -> None:
    """A LoRA with random weights for one layer of the base model."""
    noise = np.random.default_rng(0)
    shapes = ((4, SIZE.text_width), (SIZE.unet[3], 4))
    values = {name: noise.normal(size=shape) for name, shape in zip(names, shapes, strict=True)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: value.astype(np.float32) for name, value in values.items()}, path)


def test_pictures_are_colourful_and_repeat(artist: Comfy) -> None:
    first = artist.draw(graph(steps=8))
    assert first.shape == (64, 64, 3) and first.std() > 30
    assert first.std(axis=2).mean() > 20, "not grey"
    assert (artist.draw(graph(steps=8, prompt="a red rocket")) != first).any()
    assert (artist.draw(graph(steps=8, seed=4)) != first).any()
    artist.post("/free", {"free_memory": True, "unload_models": True})
    assert (artist.draw(graph(steps=8)) == first).all()


def test_negative_text_counts_only_with_guidance(artist: Comfy) -> None:
    assert (artist.draw(graph(cfg=1.0)) == artist.draw(graph(cfg=1.0, negative="grey"))).all()
    assert (artist.draw(graph()) != artist.draw(graph(negative="grey"))).any()


@pytest.mark.parametrize(
    ("names", "applied"),
    [
        ((f"{ATTENTION}.lora_down.weight", f"{ATTENTION}.lora_up.weight"), True),
        ((f"{ATTENTION}.lora_A.weight", f"{ATTENTION}.lora_B.weight"), True),
        (("base_model.model.mid.to_v.lora_A.weight", "base_model.model.mid.to_v.lora_B.weight"), False),
    ],
)
def test_which_lora_names_are_applied(artist: Comfy, names: tuple[str, str], applied: bool) -> None:
    file = artist.extra / f"loras/{uuid.uuid4().hex}.safetensors"
    write_lora(file, names)
    before = artist.draw(graph())
    assert (artist.draw(graph(file.name)) != before).any() == applied
    assert (artist.draw(graph(file.name, 0.0)) == before).all()
    assert (artist.draw(graph()) == before).all(), "taken out again to the bit"
    assert (f"lora key not loaded: {names[0]}" in artist.log.read_text()) != applied


def test_publishing_sees_whether_it_applies_a_lora(artist: Comfy) -> None:
    for names, applied in (
        ((f"{ATTENTION}.lora_down.weight", f"{ATTENTION}.lora_up.weight"), True),
        (("x.lora_A.weight", "x.lora_B.weight"), False),
    ):
        name = uuid.uuid4().hex
        write_lora(artist.extra / f"loras/{name}.safetensors", names)
        before = len(artist.log.read_text())
        order = Order(name, ".safetensors", "base", "a cat", seed=3, side=64, steps=2)
        checkpoint, drawn = pictures("comfyui", artist.port, START, order, [])
        assert checkpoint == "base.safetensors" and difference(drawn["without"], drawn["zero"]) == 0
        assert (difference(drawn["without"], drawn["with"]) > 0) == applied
        told = unread(artist.log.read_text()[before:].splitlines(), comfyui_api.UNIT)
        assert told == ([] if applied else sorted(names))


def test_saved_pictures_count_up_and_hold_their_graph(artist: Comfy) -> None:
    asked = graph(save="trip/sea", seed=9)
    first = artist.compute(asked)["outputs"]["9"]["images"]
    assert first == [{"filename": "sea_00001_.png", "subfolder": "trip", "type": "output"}]
    (second,) = artist.compute(graph(save="trip/sea", seed=10))["outputs"]["9"]["images"]
    assert second["filename"] == "sea_00002_.png"
    with Image.open(artist.base / "output/trip/sea_00001_.png") as image:
        assert json.loads(image.info["prompt"]) == asked
    status = artist.compute(graph(save="../../evil", seed=9))["status"]
    assert status["status_str"] == "error" and "not allowed" in status["messages"][-1][1]["exception_message"]


def test_a_checkpoint_of_something_else_fails_in_its_node(artist: Comfy) -> None:
    write_lora(artist.extra / "checkpoints/other.safetensors", ("a", "b"))
    asked = graph()
    asked["4"]["inputs"]["ckpt_name"] = "other.safetensors"
    name, told = artist.compute(asked)["status"]["messages"][-1]
    assert (name, told["node_id"]) == ("execution_error", "4")
    assert "Could not detect model type of" in told["exception_message"]


def test_without_a_gpu_it_ends_unless_told_to_compute_on_the_cpu(code: Path, tmp_path: Path) -> None:
    (tmp_path / "custom_nodes").mkdir()
    start = [part for part in command(code, tmp_path, "--quick-test-for-ci") if part != "--cpu"]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(start, capture_output=True, text=True, check=False, timeout=START, env=hidden)
    assert done.returncode == 1 and "CUDA" in done.stderr
