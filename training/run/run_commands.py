"""The commands of `lora-train` on runs: compare and reproduce."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from training.config import Config
from training.digests import sha256_of
from training.errors import InputError
from training.options import given_path
from training.run import record_format, reproduce
from training.run_folder import RunFolder
from training.terminal import say

DIFFERS = 3
"""Exit code: the runs differ."""


def compare(
    before: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, with its run.json.")],
    after: Annotated[Path, typer.Argument(metavar="OTHER", help="Folder of another run, with its run.json.")],
) -> None:
    """Compare two runs and their results (exit code 3 if the results differ)."""
    old, new = _record(before), _record(after)
    for sentence in reproduce.record_differences(old, new):
        say(f"differs: {sentence}")
    verdict = reproduce.compare_results(old, new, before / "output" / old["file"], after / "output" / new["file"])
    say(verdict.sentence())
    sys.exit(0 if verdict.holds else DIFFERS)


def reproduce_run(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run to repeat, with its run.json.")],
    into: Annotated[
        Path, typer.Option("--run", callback=given_path, help="Folder of the new run.", show_default=False)
    ],
    anyway: Annotated[bool, typer.Option("--anyway", help="Train even if an input has changed.")] = False,
) -> None:
    """Repeat a run from its record and compare the results (exit code 3 if they differ)."""
    from training.run.runner import train_in
    from training.signals import Stop

    old = _record(run)
    changed = reproduce.changed_inputs(old, inputs_now(old, run))
    for sentence in changed:
        say(f"differs: {sentence}")
    if changed and not anyway:
        say("Not trained: the result would differ. To train anyway, use --anyway.", err=True)
        sys.exit(DIFFERS)
    stop = Stop()
    stop.listen()
    say(train_in(Config.model_validate(old["config"]), into, stop))
    if not record_format.is_finished(record_format.read_record(RunFolder(into).record)):
        sys.exit(1)
    compare(run, into)


def inputs_now(old: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The present hashes of a record's inputs, without missing files. `folder` is the run's."""
    places = ((place, folder / place) for place in old["inputs"])
    return {place: sha256_of(file) for place, file in places if file.is_file()}


def register(app: typer.Typer) -> None:
    """Add these commands to `app`."""
    app.command("compare")(compare)
    app.command("reproduce")(reproduce_run)


def _record(folder: Path) -> dict[str, Any]:
    found = record_format.read_record(RunFolder(folder).record)
    if found is None:
        raise InputError(f"{folder}: holds no valid run.json; give the folder that --run named")
    return found
