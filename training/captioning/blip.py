"""Sentences by BLIP (Li et al. 2022, arXiv 2201.12086), through transformers."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from training.errors import InputError

MODEL = "Salesforce/blip-image-captioning-base"
MAX_TOKENS = 75
"""As many as one chunk of CLIP's text encoder takes."""


class Blip:
    """A BLIP captioning model; beam search without sampling, so a picture always gets the same sentence."""

    def __init__(self, folder: Path, device: torch.device, beams: int = 3) -> None:
        """Load the model and its processor from `folder` (transformers layout) onto `device`.

        Raises InputError if the folder holds another kind of model.
        """
        from transformers import BlipForConditionalGeneration, BlipProcessor

        try:
            self.processor: Any = BlipProcessor.from_pretrained(folder, local_files_only=True)
            self.model: Any = BlipForConditionalGeneration.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{folder}: is no BLIP captioning model ({str(error).splitlines()[0]})") from error
        self.model = self.model.eval()
        self.model.to(device)
        self.device, self.beams = device, beams
        config = hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()[:12]
        self.identity = f"blip {folder.name} {config} beams {beams}"

    def describe(self, pictures: Sequence[Image.Image]) -> list[str]:
        """One sentence per picture."""
        inputs = self.processor(images=list(pictures), return_tensors="pt").to(self.device)
        with torch.inference_mode():
            tokens = self.model.generate(**inputs, max_new_tokens=MAX_TOKENS, num_beams=self.beams, do_sample=False)
        texts = self.processor.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]
