"""The folder of a run and its files."""

from dataclasses import dataclass
from pathlib import Path

import tomlkit

from training import atomic_file
from training.config import Config
from training.errors import TrainingError

CHECKPOINTS = "step-*.pt"
"""Names of whole checkpoints; files of writes that were cut off begin with a dot."""


@dataclass(frozen=True)
class RunFolder:
    """Paths below a run's folder."""

    path: Path

    @property
    def config(self) -> Path:
        """The config of the run, complete and with absolute paths."""
        return self.path / "config.toml"

    @property
    def cache(self) -> Path:
        """Encoded pictures and captions."""
        return self.path / "cache"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints to resume from."""
        return self.path / "checkpoint"

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is one."""
        return any(self.checkpoints.glob(CHECKPOINTS))

    @property
    def log(self) -> Path:
        """Progress for programs, one JSON object a line."""
        return self.path / "log.jsonl"

    @property
    def output(self) -> Path:
        """LoRA files."""
        return self.path / "output"

    @property
    def samples(self) -> Path:
        """Pictures drawn during training."""
        return self.path / "samples"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard events."""
        return self.path / "tensorboard"

    @property
    def record(self) -> Path:
        """The run's record (see run/record.py)."""
        return self.path / "run.json"

    @property
    def environment(self) -> Path:
        """What is needed to reproduce the run elsewhere, besides its inputs."""
        return self.path / "environment"

    @property
    def code(self) -> Path:
        """The trainer's code (see archive.py)."""
        return self.environment / "training.zip"

    @property
    def lock(self) -> Path:
        """The hashed requirements of the environment, if it was installed from a lock."""
        return self.environment / "requirements.lock"

    def make(self) -> None:
        """Create the folder. Raises TrainingError if that is not possible."""
        try:
            for folder in (self.path, self.checkpoints, self.output):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"{self.path}: cannot be created: {error.strerror}; choose another --run") from error


def as_toml(config: Config) -> str:
    """The whole config as TOML, which `load_config` reads back to an equal one."""
    return tomlkit.dumps(config.model_dump(mode="json", exclude_none=True))


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a small file atomically. Raises TrainingError if it cannot be written."""
    try:
        with atomic_file.replaced(path) as part:
            part.write_bytes(content)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be written: {error.strerror or error}") from error
