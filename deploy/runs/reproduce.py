"""Repeat a run from its record with the same config, inputs and code, and compare the results."""

import contextlib
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from deploy.runs import requirements
from deploy.runs.provenance import release_named
from deploy.runs.submission import Submission
from deploy.runs.transfer import RunHost, Sent
from inventory import extras
from inventory.errors import SdfleetError
from roles.trainer.rendering import program
from training.run import record_format, reproduce


def record_of(folder: Path) -> dict[str, Any]:
    """The record of a fetched run. Raises SdfleetError if it has none or has not finished."""
    record = record_format.read_record(folder / "run.json")
    if record is None or not record_format.is_finished(record):
        raise SdfleetError(f"{folder.name} has not finished, or its record is damaged: there is no result to reproduce")
    return record


def changed(origin: RunHost, run: str, record: Mapping[str, Any]) -> list[str]:
    """Inputs on the run's host that differ from its record, one sentence each."""
    now = {f"inputs/{name}": sha256 for name, sha256 in origin.inputs(run).items()}
    with _told(run):
        read = {place: sha256 for place, sha256 in now.items() if place in record["inputs"] or _is_data(place)}
        return reproduce.changed_inputs(record, read)


@contextlib.contextmanager
def _told(run: str) -> Iterator[None]:
    """Reading of a record that its run wrote. Raises SdfleetError if it has another shape than records have."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, OverflowError, RecursionError) as error:
        raise SdfleetError(f"{run}: its record is damaged ({type(error).__name__}: {error})") from error


def _is_data(place: str) -> bool:
    """Whether it is in a folder of pictures; tokenizers have .txt files too."""
    return place.startswith(("inputs/data.", "inputs/validation."))


def lacks_trainer(target: RunHost, release: str) -> bool:
    """Whether the target lacks a trainer release."""
    return bool(target.remote.run(["test", "-x", str(_program(target, release))], check=False).status)


def _program(target: RunHost, release: str) -> PurePosixPath:
    return program(target.paths.releases("trainer") / release)


def send(origin: RunHost, run: str, record: Mapping[str, Any], target: RunHost, again: str, sent: Sent) -> None:
    """Create the run `again` on `target` from `run` on `origin`; copies inputs that the target lacks through here."""
    from training.config import Config  # takes long, and most verbs do without

    text = origin.config(run)
    text = text.replace(str(origin.paths.run(run)), str(target.paths.run(again)))
    text = text.replace(f"{origin.paths.root}/", f"{target.paths.root}/")
    try:
        config = Config.model_validate(tomllib.loads(text))
    except ValueError as error:
        said = f"{run}: this sdfleet does not read its config; use the one that made the run"
        raise SdfleetError(f"{said} ({str(error).splitlines()[0]})") from error
    wanted = requirements.turn(config, target.remote.host, ())
    known = origin.inputs(run)
    with tempfile.TemporaryDirectory() as folder:
        lacking = set(target.missing(again, known.values()))
        inputs = {}
        for name in (name for name, sha256 in known.items() if sha256 in lacking):
            inputs[name] = Path(folder) / known[name]
            if not inputs[name].exists():
                source = origin.paths.run(run) / "inputs" / PurePosixPath(name)
                origin.download(source, inputs[name], known[name])
        turn = {**wanted, "program": str(_program(target, release_named(record)))}
        target.send(again, Submission(text, inputs, {}, turn, known), sent)


def judge(before: Path, after: Path) -> tuple[list[str], reproduce.Comparison]:
    """The differences between two fetched runs, and the verdict on their results.

    Raises SdfleetError if the weights must be compared and the packages for that are not installed.
    """
    old, new = record_of(before), record_of(after)
    files = [folder / "output" / str(one.get("file")) for folder, one in ((before, old), (after, new))]
    with _told(f"{before.name} or {after.name}"):
        if old["sha256"] != new["sha256"]:
            try:
                extras.require("sdfleet train reproduce")
            except extras.MissingExtra as error:
                found = f"{old['sha256'][:12]} and {new['sha256'][:12]}"
                raise SdfleetError(f"the results differ: {found}; they cannot be compared further: {error}") from error
        return reproduce.record_differences(old, new), reproduce.compare_results(old, new, *files)
