"""Command line: ComfyUI's options. Those that choose how a GPU computes are accepted and have no effect."""

import argparse
from collections.abc import Sequence
from pathlib import Path

SWITCHES = """
    auto-launch disable-auto-launch cuda-malloc disable-cuda-malloc force-fp32 force-fp16 fp32-unet fp64-unet bf16-unet
    fp16-unet fp8_e4m3fn-unet fp8_e5m2-unet fp8_e8m0fnu-unet fp16-vae fp32-vae bf16-vae cpu-vae fp8_e4m3fn-text-enc
    fp8_e5m2-text-enc fp16-text-enc fp32-text-enc bf16-text-enc force-channels-last disable-ipex-optimize
    supports-fp8-compute cache-classic cache-none use-split-cross-attention use-quad-cross-attention
    use-pytorch-cross-attention use-sage-attention use-flash-attention disable-xformers force-upcast-attention
    dont-upcast-attention async-offload force-non-blocking disable-smart-memory deterministic mmap-torch-files
    disable-mmap dont-print-server quick-test-for-ci windows-standalone-build disable-metadata
    disable-all-custom-nodes disable-api-nodes multi-user log-stdout enable-compress-response-body
"""
MEMORY = "gpu-only highvram normalvram lowvram novram cpu"
"""Of these only one can be given."""
NUMBERS = {"cuda-device": int, "default-device": int, "preview-size": int, "cache-lru": int, "reserve-vram": float}
WORDS = "tls-keyfile tls-certfile preview-method default-hashing-function front-end-version comfy-api-base"


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of the command line; unknown ones end the process with exit code 2."""
    parser = argparse.ArgumentParser(prog="main.py", description="Stand-in ComfyUI of sdfleet's lab.")
    parser.add_argument("--listen", default="127.0.0.1", metavar="IP", nargs="?", const="0.0.0.0,::")
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument("--enable-cors-header", metavar="ORIGIN", nargs="?", const="*")
    parser.add_argument("--max-upload-size", type=float, default=100)
    parser.add_argument("--extra-model-paths-config", type=Path, nargs="+", action="append", default=[])
    parser.add_argument("--whitelist-custom-nodes", nargs="+", default=[])
    parser.add_argument("--fast", nargs="*")
    parser.add_argument("--verbose", nargs="?", default="INFO", const="DEBUG")
    for name in ("base-directory", "output-directory", "temp-directory", "input-directory"):
        parser.add_argument(f"--{name}", type=Path)
    for name in ("user-directory", "front-end-root"):
        parser.add_argument(f"--{name}", type=_folder)
    parser.add_argument("--database-url")
    for switch in SWITCHES.split():
        parser.add_argument(f"--{switch}", action="store_true")
    memory = parser.add_mutually_exclusive_group()
    for switch in MEMORY.split():
        memory.add_argument(f"--{switch}", action="store_true")
    for name, kind in NUMBERS.items():
        parser.add_argument(f"--{name}", type=kind)
    for name in WORDS.split():
        parser.add_argument(f"--{name}")
    return parser.parse_args(arguments)


def _folder(path: str) -> Path:
    if not Path(path).is_dir():
        raise argparse.ArgumentTypeError(f"The path '{path}' does not exist.")
    return Path(path)
