"""Configs over the small models, trained in process or in a process of their own."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from training.config import Config, parse_config
from training.run.runner import train_in
from training.signals import Stop


@dataclass(frozen=True)
class Workbench:
    """A place to train in."""

    materials: Path
    folder: Path

    def raw(self, family: str = "sd1", tables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The tables of a small config, with `tables` laid over them."""
        base: dict[str, Any] = {
            "name": "cat",
            "model": {
                "checkpoint": str(self.materials / f"{family}.safetensors"),
                "tokenizer": str(self.materials / "tokenizer"),
            },
            "data": {
                "folder": str(self.materials / "pictures"),
                "resolution": 64,
                "buckets": {"min_side": 48, "max_side": 96, "step": 16},
                "cache_folder": str(self.materials / "cache"),
            },
            "network": {"rank": 2, "alpha": 1.0},
            "optimizer": {"learning_rate": 1e-3},
            "train": {"steps": 4, "batch_size": 2, "device": "cpu"},
            "save": {"precision": "fp32"},
        }
        for name, table in (tables or {}).items():
            base[name] = {**base.get(name, {}), **table} if isinstance(table, dict) else table
        return base

    def config(self, family: str = "sd1", tables: Mapping[str, Any] | None = None) -> Config:
        """The config of these tables."""
        return parse_config(_without_none(self.raw(family, tables)), self.folder / "config.toml")

    def train(
        self, run: str, family: str = "sd1", tables: Mapping[str, Any] | None = None, stop: Stop | None = None
    ) -> str:
        """Train in this process; returns the closing sentence."""
        torch.set_num_threads(1)
        return train_in(self.config(family, tables), self.folder / run, stop or Stop())

    def file(self, run: str, name: str = "cat") -> Path:
        """The LoRA file of a run."""
        return self.folder / run / "output" / f"{name}.safetensors"

    def digest(self, run: str) -> str:
        """SHA-256 of the LoRA file of a run."""
        return hashlib.sha256(self.file(run).read_bytes()).hexdigest()

    def tensors(self, run: str) -> dict[str, Tensor]:
        """The tensors of the LoRA file of a run."""
        return load_file(self.file(run))

    def events(self, run: str, kind: str) -> list[dict[str, Any]]:
        """The records of one kind in a run's log."""
        lines = (self.folder / run / "log.jsonl").read_text().splitlines()
        return [record for record in map(json.loads, lines) if record["event"] == kind]


def _without_none(value: Any) -> Any:
    """Tables as TOML can hold them: a setting of None is left out."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value
