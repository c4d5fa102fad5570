"""run.json: the record of a run, complete enough to reproduce it.

It is written when the run starts, stops, fails, resumes and ends, so after a power cut it shows an unfinished run.
"""

import json
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.archive import archive
from training.config import Config
from training.data import captions, pictures
from training.digests import Digests, sha256_of
from training.run import environment
from training.run.record_format import FORMAT, read_record
from training.run_folder import RunFolder, write_bytes, write_text

ENDS = ("finished", "stopped", "failed")


def begin_record(config: Config, run: RunFolder, processes: int) -> dict[str, Any]:
    """Write and return the record of a run that starts or resumes; `processes` is their number on all hosts.

    While there is a checkpoint of an earlier start, the record goes on naming the trainer that wrote it, until
    `take_over`: this one may refuse it, and a fleet's host looks here for the one that does not.
    Raises InputError for data that cannot be read.
    """
    digests = Digests((config.data.cache_folder or run.cache) / "digests.json")
    before = read_record(run.record) or {}
    trainer = _this_trainer()
    earlier = {key: before[key] for key in trainer if key in before} if run.has_checkpoint else {}
    record = {
        "format": FORMAT,
        "name": config.name,
        "folder": str(run.path.resolve()),
        "config": config.model_dump(mode="json"),
        "seed": config.train.seed,
        "model": {key: _named(path, digests) for key, path in _models(config)},
        "inputs": dict(_inputs(config, run, digests)),
        **trainer,
        **earlier,
        "machine": environment.machine_facts(),
        "lives": [*before.get("lives", ()), {"began": _now(), "host": platform.node(), "processes": processes}],
        "losses": before.get("losses", []),
        "outputs": before.get("outputs", {}),
        "ended": None,
    }
    digests.save()
    if not earlier:
        _keep_code(run)
    _write(run, record)
    return record


def take_over(run: RunFolder, record: dict[str, Any]) -> None:
    """Name this trainer in the run's record: it has read the checkpoint, and will write the next one.

    Also stores its code and requirements lock beside the record, for `reproduce` on another machine.
    """
    trainer = _this_trainer()
    if {**record, **trainer} != record:
        record.update(trainer)
        _keep_code(run)
        _write(run, record)


def end_record(run: RunFolder, record: dict[str, Any], how: str, reason: str = "", **result: Any) -> dict[str, Any]:
    """Write how the run ended (one of ENDS), its losses and the hashes of its files; returns the record."""
    assert how in ENDS
    losses = _losses(run.log)
    digests = Digests(run.cache / "outputs.json")
    files = [file for folder in (run.output, run.samples) for file in sorted(folder.glob("*")) if file.is_file()]
    whole = {
        **record,
        **result,
        "losses": losses,
        "outputs": {
            str(file.relative_to(run.path)): {"sha256": digests.of(file), "size": file.stat().st_size}
            for file in files
            if not file.name.startswith(".")
        },
        "ended": {"how": how, "reason": reason, "time": _now(), "step": losses[-1][0] if losses else 0},
    }
    _write(run, whole)
    return whole


def _this_trainer() -> dict[str, Any]:
    return {"code": environment.code_version(), "packages": environment.package_versions()}


def _models(config: Config) -> Iterator[tuple[str, Path]]:
    """Files and folders of weights that the run starts from, by setting."""
    named = {
        "model.checkpoint": config.model.checkpoint,
        "model.vae": config.model.vae,
        "model.tokenizer": config.model.tokenizer,
        "network.start_from": config.network.start_from,
    }
    yield from ((key, path) for key, path in named.items() if path is not None)


def _named(path: Path, digests: Digests) -> dict[str, str | None]:
    # The recipe reports missing files.
    return {"path": str(path), "sha256": digests.of(path) if path.exists() else None}


def _inputs(config: Config, run: RunFolder, digests: Digests) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every input file: its path (below the run's folder, or absolute), kind and hash."""
    found = {picture.path: picture for picture in pictures.find_pictures(config.data)}
    if config.held_back:
        found |= {picture.path: picture for picture in pictures.find_pictures(config.held_back)}
    for picture in found.values():
        yield _place(picture.path, run), {"kind": "picture", "sha256": digests.of(picture.path)}
        caption = captions.caption_file(picture.path, picture.subset.captions)
        if caption:
            # Not from the cache of digests, which could miss an edit within one clock tick.
            yield _place(caption, run), {"kind": "caption", "sha256": sha256_of(caption)}
    if config.sample.prompts_file:
        file = config.sample.prompts_file
        yield _place(file, run), {"kind": "prompts", "sha256": sha256_of(file)}


def _place(path: Path, run: RunFolder) -> str:
    folder = run.path.resolve()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _losses(log: Path) -> list[list[float]]:
    """[step, loss] of every logged step; of a step done twice, before and after a crash, the last counts."""
    found: dict[int, float] = {}
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and event.get("event") == "step" and {"step", "loss"} <= event.keys():
            found[event["step"]] = event["loss"]
    return [[step, found[step]] for step in sorted(found)]


def _keep_code(run: RunFolder) -> None:
    run.environment.mkdir(exist_ok=True)
    if not run.code.exists() or run.code.read_bytes() != archive():
        write_bytes(run.code, archive())
    lock = Path(sys.prefix) / run.lock.name
    if lock.is_file():
        write_text(run.lock, lock.read_text(encoding="utf-8"))


def _write(run: RunFolder, record: dict[str, Any]) -> None:
    write_text(run.record, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
