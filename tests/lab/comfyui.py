"""ComfyUI, started as a service starts it: the stand-in, or the genuine one where a person names it.

COMFYUI_CODE=CHECKOUT COMFYUI_PYTHON=ITS_PYTHON pytest tests/lab/test_standin_comfyui.py asks the genuine one the same.
"""

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import requests
from numpy.typing import NDArray
from PIL import Image

from lab.upstreams.catalog import COMFYUI_SOURCE, DRAWING

GENUINE = os.environ.get("COMFYUI_CODE")
PYTHON = os.environ.get("COMFYUI_PYTHON", sys.executable)
START = 300
"""Seconds that a start, or a first picture, may take on a busy machine."""
NODE = """
import time
class Say:
    RETURN_TYPES, FUNCTION, OUTPUT_NODE, CATEGORY = ("STRING",), "say", True, "test"
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"text": ("STRING", {}), "seconds": ("FLOAT", {"min": 0.0})}}
    def say(self, text, seconds):
        if text == "fail":
            raise ValueError("no words")
        time.sleep(seconds)
        return {"ui": {"said": [text, time.time_ns()]}, "result": (text,)}
NODE_CLASS_MAPPINGS = {"Say": Say}
"""
"""A custom node, which needs no torch."""


@dataclass
class Comfy:
    """One started stand-in."""

    process: subprocess.Popen[bytes]
    port: int
    base: Path
    extra: Path
    log: Path

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **headers: str) -> requests.Response:
        """GET of a path."""
        return requests.get(self.url + path, headers=headers, timeout=START)

    def post(self, path: str, body: Any) -> requests.Response:
        """POST of JSON to a path."""
        return requests.post(self.url + path, json=body, timeout=START)

    def queue(self, graph: dict[str, Any], **more: Any) -> str:
        """The id of a graph that it accepted."""
        answer = self.post("/prompt", {"prompt": graph, **more})
        assert answer.status_code == 200 and answer.json()["node_errors"] == {}, answer.text
        return str(answer.json()["prompt_id"])

    def done(self, item: str) -> dict[str, Any]:
        """The entry of a graph in the history, once it is there."""
        deadline = time.monotonic() + START
        while not (found := self.get(f"/history/{item}").json()):
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        entry: dict[str, Any] = found[item]
        return entry

    def compute(self, graph: dict[str, Any]) -> dict[str, Any]:
        """The entry of a graph in the history."""
        return self.done(self.queue(graph))

    def draw(self, graph: dict[str, Any]) -> NDArray[np.uint8]:
        """The pixels of a graph's picture."""
        entry = self.compute(graph)
        assert entry["status"]["status_str"] == "success", entry["status"]
        (shown,) = entry["outputs"]["9"]["images"]
        answer = requests.get(f"{self.url}/view", params=shown, timeout=START)
        answer.raise_for_status()
        with Image.open(io.BytesIO(answer.content)) as image:
            return np.asarray(image)


def said(text: str = "", seconds: float = 0.0) -> dict[str, Any]:
    """A graph of the custom node; its text is another one each time."""
    inputs = {"text": text or uuid.uuid4().hex, "seconds": seconds}
    return {"1": {"class_type": "Say", "inputs": inputs}}


def graph(
    lora: str = "", weight: float = 1.0, *, prompt: str = "a cat", negative: str = "", save: str = "", **sampler: Any
) -> dict[str, Any]:
    """A small picture of SD 1.5."""
    after, node = ("10", "10") if lora else ("4", "4")
    made: dict[str, Any] = {
        "4": ("CheckpointLoaderSimple", {"ckpt_name": "base.safetensors"}),
        "5": ("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
        "6": ("CLIPTextEncode", {"text": prompt, "clip": [node, 1]}),
        "7": ("CLIPTextEncode", {"text": negative, "clip": [node, 1]}),
        "3": (
            "KSampler",
            {"seed": 3, "steps": 2, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
            | {"model": [after, 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}
            | sampler,
        ),
        "8": ("VAEDecode", {"samples": ["3", 0], "vae": ["4", 2]}),
        "9": ("SaveImage", {"images": ["8", 0], "filename_prefix": save})
        if save
        else ("PreviewImage", {"images": ["8", 0]}),
    }
    if lora:
        strengths = {"strength_model": weight, "strength_clip": weight}
        made["10"] = ("LoraLoader", {"lora_name": lora, **strengths, "model": ["4", 0], "clip": ["4", 1]})
    return {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in made.items()}


def code(home: Path) -> Path:
    """The code as a release has it; the stand-in's without its tokenizer."""
    if GENUINE:
        return Path(GENUINE)
    for source in (COMFYUI_SOURCE, DRAWING):
        shutil.copytree(source, home, dirs_exist_ok=True)
    return home


def command(code: Path, base: Path, *more: str) -> list[str]:
    """How a service starts it."""
    database = f"sqlite:///{base}/user/comfyui.db"
    start = [PYTHON, "-B", str(code / "main.py"), "--base-directory", str(base), "--database-url", database]
    return [*start, "--disable-auto-launch", "--disable-api-nodes", "--cpu", *more]


@contextlib.contextmanager
def running(code: Path, base: Path, extra: Path) -> Iterator[Comfy]:
    """A running one with a custom node, for the length of a `with` block.

    + base: its base folder; holds what an earlier start left behind
    + extra: where models lie that are not in its base folder
    """
    (base / "custom_nodes/say").mkdir(parents=True)
    (base / "custom_nodes/say/__init__.py").write_text(NODE)
    (base / "custom_nodes/broken").mkdir()
    (base / "custom_nodes/broken/__init__.py").write_text("import no_such_module")
    (base / "temp").mkdir()
    (base / "temp/old.png").touch()
    (extra / "paths.yaml").write_text(
        f"sdfleet:\n  base_path: {extra}\n  checkpoints: checkpoints\n  loras: |\n    loras\n    more\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = base / "log"
    flags = ("--port", str(port), "--extra-model-paths-config", str(extra / "paths.yaml"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(code, base, *flags), cwd=code, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    comfy = Comfy(process, port, base, extra, log)
    try:
        deadline = time.monotonic() + START
        while f"To see the GUI go to: {comfy.url}" not in (text := log.read_text()):
            assert process.poll() is None and time.monotonic() < deadline, text
            time.sleep(0.02)
        yield comfy
    finally:
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM, "it has no handler of its own"
