"""Intervals of checkpoints, files, sample pictures and validation."""

from dataclasses import dataclass
from pathlib import Path

from training.sections.output import Sample, Save, Validation


@dataclass(frozen=True)
class Intervals:
    """What is due after which step of a run. Steps count from 1."""

    name: str
    """Of the LoRA."""
    save: Save
    sample: Sample
    held_back: Validation
    steps: int
    per_epoch: int

    def any(self, step: int) -> bool:
        """Whether anything is due."""
        return bool(
            step == self.steps
            or self.checkpoint(step)
            or self.file(step)
            or self.samples(step)
            or self.validation(step)
        )

    def checkpoint(self, step: int) -> bool:
        """Whether a checkpoint is due: every epoch unless the config says otherwise, and at the end."""
        return step == self.steps or _at(step, self.save.checkpoint_every_steps or self.per_epoch)

    def file(self, step: int) -> str | None:
        """The name of the intermediate LoRA file that is due, as kohya names them; the last file has its own name."""
        save = self.save
        if step == self.steps:
            return None
        if save.every_epochs and _at(step, save.every_epochs * self.per_epoch):
            return f"{self.name}-{step // self.per_epoch:06d}"
        return f"{self.name}-step{step:08d}" if _at(step, save.every_steps) else None

    def samples(self, step: int) -> bool:
        """Whether pictures are due."""
        sample = self.sample
        every_epochs = sample.every_epochs * self.per_epoch if sample.every_epochs else None
        return _at(step, sample.every_steps) or _at(step, every_epochs)

    def validation(self, step: int) -> bool:
        """Whether the held-back pictures' loss is due."""
        settings = self.held_back
        wanted = bool(settings.share or settings.folder)
        return wanted and (step == self.steps or _at(step, settings.every_steps or self.per_epoch))


def remove_old_files(output: Path, name: str, keep: int | None) -> None:
    """Remove all but the last `keep` intermediate files of each kind."""
    if keep is None:
        return
    for pattern in (f"{name}-[0-9][0-9][0-9][0-9][0-9][0-9].safetensors", f"{name}-step*.safetensors"):
        for old in sorted(output.glob(pattern))[:-keep]:
            old.unlink(missing_ok=True)


def _at(step: int, every: int | None) -> bool:
    return bool(every) and step % (every or 1) == 0
