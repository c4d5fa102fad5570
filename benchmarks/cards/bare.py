"""A minimal LoRA training loop, eager and captured into one CUDA graph with its optimiser: a GPU's upper limit.

python bare.py MODEL sd15|sdxl RESOLUTION BATCHES STEPS RESULT     BATCHES: 1,4

Cached latents and text (random numbers), UNet with PEFT layers at kohya's places, autocast to bf16, fused AdamW.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from torch.nn import functional

TARGETS = r".*attentions.*(proj_in|proj_out|to_q|to_k|to_v|to_out\.0|ff\.net\.0\.proj|ff\.net\.2)"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main(model: str, kind: str, resolution: int, batches: list[int], steps: int, result: Path) -> None:
    """Measure every batch size and write the results as JSON."""
    unet: Any = UNet2DConditionModel.from_pretrained(model, subfolder="unet", torch_dtype=torch.bfloat16)
    unet.to(DEVICE).requires_grad_(False)
    unet.add_adapter(LoraConfig(r=8, lora_alpha=8, target_modules=TARGETS))
    for parameter in unet.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    unet.train()
    result.write_text(json.dumps({str(batch): measure(unet, kind, resolution, batch, steps) for batch in batches}))


def measure(unet: Any, kind: str, resolution: int, batch: int, steps: int) -> dict[str, float]:
    """Steps a second, memory, and the time from the start of the process to the end of the first step."""
    trained = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True, capturable=DEVICE == "cuda")
    latents = torch.randn(batch, 4, resolution // 8, resolution // 8, device=DEVICE)
    noise, times = torch.randn_like(latents), torch.randint(0, 1000, (batch,), device=DEVICE)
    text, added = _conditions(unet, kind, resolution, batch)

    def step() -> None:
        with torch.autocast(DEVICE, torch.bfloat16, cache_enabled=False):
            said = unet(latents.bfloat16(), times, text, return_dict=False, **added)[0]
        functional.mse_loss(said.float(), noise).backward()
        optimizer.step()

    def eager() -> None:
        optimizer.zero_grad(set_to_none=True)
        step()

    if DEVICE == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    eager()
    _wait()
    found = {"first": time.monotonic() - float(os.environ["BORN"])}
    for _ in range(2):
        eager()
    found["eager"] = _speed(eager, steps)
    found["eager_peak_mb"] = torch.cuda.max_memory_allocated() >> 20 if DEVICE == "cuda" else 0
    if DEVICE == "cuda":
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        found["captured"] = _speed(_captured(optimizer, eager, step), steps * 2)
        found["captured_peak_mb"] = torch.cuda.max_memory_allocated() >> 20
        optimizer.zero_grad(set_to_none=True)
    return found


def _conditions(unet: Any, kind: str, resolution: int, batch: int) -> tuple[torch.Tensor, dict[str, Any]]:
    """Random text embeddings, and what else the UNet of this kind is told."""
    half = {"device": DEVICE, "dtype": torch.bfloat16}
    text = torch.randn(batch, 77, unet.config.cross_attention_dim, **half)
    if kind != "sdxl":
        return text, {}
    pooled = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim
    sizes = torch.tensor([[resolution, resolution, 0, 0, resolution, resolution]] * batch, device=DEVICE)
    told = {"text_embeds": torch.randn(batch, pooled, **half), "time_ids": sizes.bfloat16()}
    return text, {"added_cond_kwargs": told}


def _captured(
    optimizer: torch.optim.Optimizer, eager: Callable[[], None], step: Callable[[], None]
) -> Callable[[], None]:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            eager()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def _speed(step: Callable[[], None], count: int) -> float:
    _wait()
    began = time.monotonic()
    for _ in range(count):
        step()
    _wait()
    return count / (time.monotonic() - began)


def _wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    sizes = [int(word) for word in sys.argv[4].split(",")]
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sizes, int(sys.argv[5]), Path(sys.argv[6]))
