"""Train the base model, and write its weights, a sheet of what it draws, and the figures of the training.

python -m lab.learned FOLDER [--vae-steps N] [--unet-steps N] [--seed N]

FOLDER gets weights.safetensors, drawn.jpg (lab/learned/sheet.py) and figures.json. To ship another model, let FOLDER be
lab/learned.
"""

import argparse
import json
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTokenizer

from lab.learned.autoencoder import new_vae, train_vae
from lab.learned.denoiser import Words, new_text_encoder, new_unet, train_unet
from lab.learned.layout import checkpoint
from lab.learned.sheet import write_sheet
from lab.learned.weights import SIZE, keep
from lab.tokenizer import tokenizer_files

VAE_STEPS, VAE_RATE = 1500, 4e-3
UNET_STEPS, UNET_RATE = 1200, 4e-3
SMOOTHING = 0.05


class Figures:
    """The running mean of each loss, printed now and then; and the seconds of each part."""

    def __init__(self) -> None:
        self.losses: dict[str, float] = {}
        self._began = time.monotonic()

    def say(self, part: str, step: int, loss: float) -> None:
        """Note a step's loss."""
        self.losses[part] = loss if step == 0 else self.losses[part] + SMOOTHING * (loss - self.losses[part])
        if step % 20 == 0:
            print(
                f"{part} step {step}: loss {self.losses[part]:.4f}, {time.monotonic() - self._began:.0f} s", flush=True
            )


def words() -> Words:
    """The captions' tokens, by CLIP's tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in tokenizer_files().items():
            (Path(folder) / name).write_bytes(data)
        return Words(CLIPTokenizer.from_pretrained(folder))


def train(folder: Path, vae_steps: int, unet_steps: int, seed: int) -> None:
    """Train both parts and write what FOLDER gets."""
    torch.set_num_threads(1)  # Sums in another order would make other weights.
    known, figures, times = words(), Figures(), [time.process_time()]
    torch.manual_seed(seed)
    vae = new_vae(SIZE.vae).train()
    train_vae(vae, vae_steps, VAE_RATE, seed + 1, figures.say)
    vae.eval()
    times.append(time.process_time())
    torch.manual_seed(seed)
    unet = new_unet(SIZE.unet, SIZE.text_width).train()
    text = new_text_encoder(SIZE.text_width, SIZE.text_layers, len(known.tokens)).train()
    train_unet(unet, text, vae, known, unet_steps, UNET_RATE, seed + 1, figures.say)
    unet.eval()
    text.eval()
    times.append(time.process_time())
    write(folder, unet, vae, text, known)
    about = {
        "seed": seed,
        "steps": {"vae": vae_steps, "unet": unet_steps},
        "cpu_minutes": {"vae": round((times[1] - times[0]) / 60, 1), "unet": round((times[2] - times[1]) / 60, 1)},
        "losses": {part: round(loss, 4) for part, loss in figures.losses.items()},
        "trained_on": {"machine": platform.machine(), "threads": 1, "torch": torch.__version__},
    }
    (folder / "figures.json").write_text(json.dumps(about, indent=2) + "\n")


def write(folder: Path, unet: Any, vae: Any, text: Any, known: Words) -> None:
    """Write the trained weights and a sheet of what they draw."""
    folder.mkdir(parents=True, exist_ok=True)
    found = checkpoint(unet, vae, text, replace(SIZE, vocabulary=len(known.tokens)))
    keep(found, known.tokens, folder / "weights.safetensors")
    write_sheet(folder / "drawn.jpg", unet, text, vae, known)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m lab.learned", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vae-steps", type=int, default=VAE_STEPS)
    parser.add_argument("--unet-steps", type=int, default=UNET_STEPS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    train(options.folder, options.vae_steps, options.unet_steps, options.seed)


if __name__ == "__main__":
    main()
