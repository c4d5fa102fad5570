"""Starts or resumes the run of a folder, stops it on request, and records its end."""

import functools
import importlib
import sys
from pathlib import Path
from typing import Any

from training.config import Config, load_config
from training.errors import InputError, TrainingError
from training.loop import determinism
from training.run import record, record_format
from training.run_folder import RunFolder, as_toml, write_text
from training.signals import Interrupted, Stop
from training.terminal import visible

LIBRARIES = ("diffusers.models.unets.unet_2d_condition", "peft", "transformers.models.clip.modeling_clip")
"""Modules that every run uses."""


def train_in(config: Config, folder: Path, stop: Stop, environment: dict[str, str] | None = None) -> str:
    """Train `config` in `folder`; returns a message on how it ended.

    A finished run is not repeated. `environment` are torchrun's variables if several processes share the run; the
    message is empty if another process of the host reports.
    Raises TrainingError or InputError as the recipe does.
    """
    run = RunFolder(folder)
    known = record_format.read_record(run.record)
    if known and record_format.is_finished(known):
        if not _holds(run, config):
            raise InputError(f"{folder}: holds the finished run of another config; choose another --run")
        return f"{run.output / str(known['file'])} is finished already ({known['steps']} steps); nothing to do"
    run.make()
    # Before torch is imported, which reads the environment.
    determinism.prepare_environment(config.train)
    _import_libraries()
    from training.loop import precision
    from training.loop.distributed import DistributedGroup, ProcessGroup

    given, config = config, config.model_copy(update={"train": precision.resolve_precision(config.train)})
    try:
        group = (
            DistributedGroup(config.train, config.resources.patience_s, stop, environment)
            if environment
            else ProcessGroup()
        )
    except Interrupted:
        return "stopped before the processes of the run had met; nothing was begun"
    if not group.writes:
        _train(config, run, stop, group, {})
        return ""
    if not _holds(run, given):  # on a fleet's host the file exists and belongs to root
        write_text(run.config, as_toml(given))
    begun = record.begin_record(config, run, group.world_size)
    try:
        return _train(config, run, stop, group, begun)
    except (TrainingError, RuntimeError, MemoryError) as error:
        record.end_record(run, begun, "failed", str(error))
        raise


def _holds(run: RunFolder, config: Config) -> bool:
    """Whether the run's folder has this config, in any formatting."""
    try:
        return load_config(run.config) == config
    except InputError:
        return False


def _train(config: Config, run: RunFolder, stop: Stop, group: Any, begun: dict[str, Any]) -> str:
    """Run the recipe and explain its errors; `begun` is the run's record, empty if another process writes it."""
    try:
        from training.loop.prepare import device_of
        from training.loop.recipe import train

        with determinism.deterministic_kernels(config.train, device_of(config.train.device).type):
            restored = functools.partial(record.take_over, run, begun) if begun else None
            result = train(config, run, stop, _say if group.writes else _keep_quiet, group, restored)
        group.close()
    except Interrupted:
        if begun:
            record.end_record(run, begun, "stopped")
        return f"stopped; go on with: lora-train run {run.config} --run {run.path}"
    except RuntimeError as error:
        if "out of memory" in str(error).lower():
            from training.memory.advice import out_of_memory_advice

            raise TrainingError(out_of_memory_advice(config)) from error
        if sentence := determinism.explain_nondeterminism(error):
            raise TrainingError(sentence) from error
        raise
    except OSError as error:
        raise TrainingError(
            f"{error.filename or run.path}: {error.strerror or error}; the last checkpoint is kept. "
            "Fix this (is the disk full?) and start the run again: it resumes from there"
        ) from error
    if begun:
        record.end_record(run, begun, "finished", **result)
    said = f"{run.output / str(result['file'])}: {result['steps']} steps in {result['seconds']} s"
    skipped = result["skipped_steps"]
    return f"{said}; {skipped} of them skipped, as their gradients overflowed" if skipped else said


def _import_libraries() -> None:
    """Raise InputError if the libraries of this environment do not work together: better now than at first use."""
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
    """Another process of the host reports."""
