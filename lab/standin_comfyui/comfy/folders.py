"""Where models lie and pictures go: the base folder, and the folders that extra_model_paths.yaml adds."""

import argparse
import itertools
import logging
import os
from pathlib import Path
from typing import Any

import yaml

CODE = Path(__file__).resolve().parent.parent
"""The checkout that main.py stands in."""
MODEL_FILES = {".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"}
KINDS = {
    "checkpoints": "checkpoints",
    "configs": "configs",
    "loras": "loras",
    "vae": "vae",
    "text_encoders": "text_encoders clip",
    "diffusion_models": "unet diffusion_models",
    "clip_vision": "clip_vision",
    "style_models": "style_models",
    "embeddings": "embeddings",
    "vae_approx": "vae_approx",
    "controlnet": "controlnet t2i_adapter",
    "gligen": "gligen",
    "upscale_models": "upscale_models",
    "hypernetworks": "hypernetworks",
}
"""Folders below models/ by kind."""
OLD_NAMES = {"unet": "diffusion_models", "clip": "text_encoders"}


class Folders:
    """The folders of one start."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Folders as options say. Raises OSError or yaml.YAMLError if extra paths cannot be read."""
        base = (options.base_directory or CODE).absolute()
        self.output = (options.output_directory or base / "output").absolute()
        self.input = (options.input_directory or base / "input").absolute()
        self.temp = options.temp_directory.absolute() / "temp" if options.temp_directory else base / "temp"
        self.user = (options.user_directory or base / "user").absolute()
        self.kinds = {kind: [base / "models" / name for name in names.split()] for kind, names in KINDS.items()} | {
            "custom_nodes": [base / "custom_nodes"]
        }
        beside = [CODE / "extra_model_paths.yaml"]
        for file in (*filter(Path.is_file, beside), *itertools.chain.from_iterable(options.extra_model_paths_config)):
            self._add_extra(file)

    def _add_extra(self, file: Path) -> None:
        for table in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).values():
            folders: dict[str, Any] = dict(table or {})
            base = Path(os.path.expandvars(os.path.expanduser(folders.pop("base_path", "."))))  # noqa: PTH111
            first = bool(folders.pop("is_default", False))
            for kind, paths in folders.items():
                for path in filter(None, paths.split("\n")):
                    folder = Path(os.path.normpath(file.absolute().parent / base / path))
                    logging.info("Adding extra search path %s %s", kind, folder)
                    known = self.kinds.setdefault(OLD_NAMES.get(kind, kind), [])
                    if folder not in known:
                        known.insert(0 if first else len(known), folder)

    def names(self, kind: str) -> list[str]:
        """All models of a kind, by their path below its folders."""
        found = set()
        for folder in self.kinds[OLD_NAMES.get(kind, kind)]:
            for place, inner, files in os.walk(folder, followlinks=True):
                inner[:] = [name for name in inner if name != ".git"]
                paths = (Path(place, name) for name in files)
                found |= {str(path.relative_to(folder)) for path in paths if path.suffix.lower() in MODEL_FILES}
        return sorted(found)

    def find(self, kind: str, name: str) -> Path:
        """The file of a model. Raises FileNotFoundError if there is none."""
        for folder in self.kinds[kind]:
            if (folder / name).is_file():
                return folder / name
        raise FileNotFoundError(f"Model in folder '{kind}' with filename '{name}' not found.")

    def shown(self, kind: str) -> Path | None:
        """The folder that /view serves as type `kind`."""
        return {"output": self.output, "temp": self.temp, "input": self.input}.get(kind)
