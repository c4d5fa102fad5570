"""One run in its folder: start or go on, stop on request, end once."""

import importlib
import sys
from pathlib import Path
from typing import Any

from training.config import Config, load
from training.errors import InputError, TrainingError
from training.loop import determinism
from training.run import record, records
from training.run_folder import RunFolder, as_toml, write_text
from training.signals import Interrupted, Stop
from training.terminal import visible

LIBRARIES = ("diffusers.models.unets.unet_2d_condition", "peft", "transformers.models.clip.modeling_clip")
"""What every run uses of them."""


def train_in(config: Config, folder: Path, stop: Stop, environment: dict[str, str] | None = None) -> str:
    """Train `config` in `folder`; returns the sentence that tells how it ended.

    `stop` may ask it to stop early. A run that is finished is left alone. `environment` tells one of several
    processes of the run its place, by torchrun's names; the sentence is empty where another one of its host tells.
    Raises TrainingError or InputError as the recipe does.
    """
    run = RunFolder(folder)
    known = records.read(run.record)
    if known and records.finished(known):
        if not _holds(run, config):
            raise InputError(f"{folder}: holds the finished run of another config; choose another --run")
        return f"{run.output / str(known['file'])} is finished already ({known['steps']} steps); nothing to do"
    run.make()
    # Before torch is imported: what stands in the environment counts from then on.
    determinism.prepare(config.train)
    _import_libraries()
    from training.loop import precision
    from training.loop.distributed import Group, Many

    given, config = config, config.model_copy(update={"train": precision.resolved(config.train)})
    try:
        group = Many(config.train, config.resources.patience_s, stop, environment) if environment else Group()
    except Interrupted:
        return "stopped before the processes of the run had met; nothing was begun"
    if not group.writes:
        _train(config, run, stop, group, {})
        return ""
    if not _holds(run, given):  # on a fleet's host it is root's, and says it already
        write_text(run.config, as_toml(given))
    begun = record.begin(config, run, group.world)
    try:
        return _train(config, run, stop, group, begun)
    except (TrainingError, RuntimeError, MemoryError) as error:
        record.end(run, begun, "failed", str(error))
        raise


def _holds(run: RunFolder, config: Config) -> bool:
    """Whether the run's folder has this config, however it is written there."""
    try:
        return load(run.config) == config
    except InputError:
        return False


def _train(config: Config, run: RunFolder, stop: Stop, group: Any, begun: dict[str, Any]) -> str:
    """The recipe, its errors as sentences; `begun` is the record of the run, empty where another process keeps it."""
    try:
        from training.loop.prepare import device_of
        from training.loop.recipe import train

        with determinism.kernels(config.train, device_of(config.train.device).type):
            result = train(config, run, stop, _say if group.writes else _keep_quiet, group)
        group.close()
    except Interrupted:
        if begun:
            record.end(run, begun, "stopped")
        return f"stopped; go on with: lora-train run {run.config} --run {run.path}"
    except RuntimeError as error:
        if "out of memory" in str(error).lower():
            from training.memory.advice import advice

            raise TrainingError(advice(config)) from error
        if sentence := determinism.explanation(error):
            raise TrainingError(sentence) from error
        raise
    except OSError as error:
        raise TrainingError(
            f"{error.filename or run.path}: {error.strerror or error}; the last checkpoint is kept. "
            "Mend this (is the disk full?) and start the run again: it goes on from there"
        ) from error
    if begun:
        record.end(run, begun, "finished", **result)
    said = f"{run.output / str(result['file'])}: {result['steps']} steps in {result['seconds']} s"
    skipped = result["skipped_steps"]
    return f"{said}; {skipped} of them skipped, as their gradients overflowed" if skipped else said


def _import_libraries() -> None:
    """Raises InputError where the libraries of this environment do not fit together: better now than at first use."""
    try:
        for name in LIBRARIES:
            importlib.import_module(name)
    except Exception as error:  # an optional package that is broken raises whatever it likes
        raise InputError(
            f"torch, diffusers, PEFT and transformers of {sys.prefix} cannot be imported together "
            f"({type(error).__name__}: {error}); compare with the versions that sdfleet-training asks for: pip check"
        ) from error


def _say(text: str) -> None:
    print(visible(text), flush=True)


def _keep_quiet(_: str) -> None:
    """Another process of the host tells."""
