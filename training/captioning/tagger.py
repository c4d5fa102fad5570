"""Tags by a WD14 tagger: SmilingWolf's ONNX models, trained on Danbooru's tags.

Input and columns as published with the models (huggingface.co/SmilingWolf): the picture padded to a white square, BGR,
0 to 255, channels last; selected_tags.csv names the outputs: category 9 is a rating, 0 general, 4 a character.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from training.errors import InputError, reason

MODEL = "SmilingWolf/wd-v1-4-moat-tagger-v2"
WEIGHTS, NAMES = "model.onnx", "selected_tags.csv"
GENERAL, CHARACTER = "0", "4"
FACES = 3
"""Tags up to this length are emoticons such as ^_^, which keep their underscore."""


@dataclass(frozen=True)
class TagChoice:
    """The tags to write."""

    threshold: float = 0.35
    character_threshold: float = 0.85
    blacklist: frozenset[str] = frozenset()
    """Tags never written, with spaces for underscores."""


class Tagger:
    """A tagger; the most likely tags come first."""

    def __init__(self, folder: Path, choice: TagChoice, providers: Sequence[str]) -> None:
        """Load the model in `folder` with the first of onnxruntime's `providers` that works.

        Raises InputError if a file is missing or the two do not match.
        """
        import onnxruntime

        self.choice = choice
        try:
            self.session: Any = onnxruntime.InferenceSession(str(folder / WEIGHTS), providers=list(providers))
        except Exception as error:  # onnxruntime's errors have no common class
            raise InputError(f"{folder / WEIGHTS}: cannot be loaded ({str(error).splitlines()[0]})") from error
        self.input = self.session.get_inputs()[0]
        self.side = int(self.input.shape[1])
        self.names, self.categories = _names(folder / NAMES)
        outputs = self.session.get_outputs()[0].shape[-1]
        if isinstance(outputs, int) and outputs != len(self.names):
            raise InputError(f"{folder / NAMES}: names {len(self.names)} tags, but the model gives {outputs}")
        parts = (choice.threshold, choice.character_threshold, sorted(choice.blacklist))
        self.identity = f"tagger {folder.name} {len(self.names)} {parts}"

    def describe(self, pictures: Sequence[Image.Image]) -> list[str]:
        """Tags separated by commas, one text per picture."""
        batch = np.stack([square(picture, self.side) for picture in pictures])
        (scores,) = self.session.run(None, {self.input.name: batch})
        return [", ".join(self._chosen(row)) for row in scores]

    def _chosen(self, scores: "np.ndarray[Any, Any]") -> list[str]:
        least = {GENERAL: self.choice.threshold, CHARACTER: self.choice.character_threshold}
        order = sorted(range(len(self.names)), key=lambda index: (-scores[index], index))
        return [
            self.names[index]
            for index in order
            if self.categories[index] in least
            and scores[index] >= least[self.categories[index]]
            and self.names[index] not in self.choice.blacklist
        ]


def square(picture: Image.Image, side: int) -> "np.ndarray[Any, Any]":
    """The model's input: (side, side, 3) float32, BGR, 0 to 255, padded with white."""
    whole = max(picture.size)
    padded = Image.new("RGB", (whole, whole), "white")
    padded.paste(picture, ((whole - picture.width) // 2, (whole - picture.height) // 2))
    small = padded.resize((side, side), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(small, dtype=np.float32)[:, :, ::-1])


def _names(file: Path) -> tuple[list[str], list[str]]:
    try:
        with file.open(encoding="utf-8", newline="") as text:
            rows = list(csv.DictReader(text))
        names = [row["name"] if len(row["name"]) <= FACES else row["name"].replace("_", " ") for row in rows]
        return names, [row["category"] for row in rows]
    except (OSError, UnicodeDecodeError, KeyError, TypeError, csv.Error) as error:
        raise InputError(f"{file}: cannot be read as the tagger's list of tags ({reason(error)})") from error
