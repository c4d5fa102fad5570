"""Training runs as their host sees them: make, list, read, remove. Runs there; see the package's sentence.

A run's folder holds config.toml, turn.json and inputs/ (owner root: the run can't change what it was given) beside
what the run writes: log.jsonl, output/, checkpoint/, and run.json, which says how it ended. Inputs are hard links into
a content-addressed store, so that a picture that many runs use travels and lies there once.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ABANDONED_SECONDS = 86400
"""Inputs that arrived so long ago and belong to no run belong to nobody."""

PRIVATE = ("inputs", "cache", "checkpoint", "turn-state.json")
"""What of a run stays on the host."""


def main(verb: str, **values: Any) -> Any:
    """Do `verb`; its errors come back as {"error": sentence}."""
    verbs: dict[str, Callable[..., Any]] = {
        "missing": missing,
        "create": create,
        "list": list_runs,
        "read": read,
        "files": files,
        "remove": remove,
        "capacity": capacity,
        "inputs": inputs,
        "turn": turn,
        "states": states,
    }
    try:
        return verbs[verb](**values)
    except (OSError, ValueError) as error:
        return {"error": str(error)}


def missing(store: str, hashes: list[str]) -> list[str]:
    """Which of `hashes` the store lacks or holds altered: who edits a run's input edits the file of the store."""
    blobs = {sha256: _blob(store, sha256) for sha256 in hashes}
    return [sha256 for sha256, blob in blobs.items() if not blob.exists() or _sha256(blob) != sha256]


def create(
    run: str, store: str, incoming: str, inputs: dict[str, str], config: str, turn: dict[str, Any], user: str
) -> dict[str, Any]:
    """Take what arrived in `incoming` into the store and make the folder `run`, whole or not at all."""
    final, arrived = Path(run), Path(incoming)
    if final.exists() and _state(final)["state"] != "created":
        raise ValueError("a run of that name is there already; choose another with --name")
    for file in sorted(arrived.glob("*")):
        if _sha256(file) != file.name:
            raise ValueError(f"{file.name[:12]} arrived damaged; send it again")
        blob = _blob(store, file.name)
        blob.parent.mkdir(parents=True, exist_ok=True)
        file.replace(blob)
    shutil.rmtree(arrived, ignore_errors=True)
    _tidy(final.parent, Path(store))
    half = final.parent / f".{final.name}.new"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    for name, sha256 in inputs.items():
        target = half / "inputs" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(_blob(store, sha256), target)
    (half / "config.toml").write_text(config, encoding="utf-8")
    (half / "turn.json").write_text(json.dumps(turn), encoding="utf-8")
    shutil.chown(half, user, user)
    if final.exists():  # made by a controller that was killed before it started the run
        final.rename(final.parent / f".{final.name}.gone")
        _tidy(final.parent, Path(store))
    half.rename(final)
    return {}


def capacity(runs: str, allowed: int) -> dict[str, Any]:
    """The GPUs that runs may use (total and free MiB, and whether a run holds each), and how many runs wait."""
    command = ["nvidia-smi", "--query-gpu=index,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        rows = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode().splitlines()
    except OSError:
        rows = []
    cells = [[cell.strip() for cell in row.split(",")] for row in rows]
    states = [_state(config.parent) for config in Path(runs).glob("[!.]*/config.toml")]
    held = [gpu for state in states for gpu in state["gpus"]]
    gpus = [
        {"index": c[0], "total": int(c[1]), "free": int(c[2]), "taken": c[0] in held}
        for c in cells
        if len(c) == 3 and c[1].isdigit() and c[2].isdigit()
    ]
    waiting = [state["state"] for state in states]
    return {"gpus": gpus[:allowed], "running": waiting.count("running"), "queued": waiting.count("queued")}


def inputs(run: str) -> dict[str, str]:
    """sha256 of every input as it is now, by its path below inputs/."""
    folder = Path(run, "inputs")
    return {str(p.relative_to(folder)): _sha256(p) for p in sorted(folder.rglob("*")) if _plain(p)}


def turn(run: str, wants: dict[str, Any]) -> dict[str, Any]:
    """Change what a run that doesn't run needs of its hosts."""
    file = Path(run, "turn.json")
    if _state(file.parent)["state"] in ("running", "queued"):
        raise ValueError("it is still going; stop it first with `sdfleet train stop`")
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    new = file.with_name(".turn.json.new")
    new.write_text(json.dumps({**known, **wants}), encoding="utf-8")
    new.replace(file)
    return {}


def list_runs(runs: str) -> list[dict[str, Any]]:
    """Every run: name, state, and its last record of progress."""
    found = []
    for config in sorted(Path(runs).glob("[!.]*/config.toml")):
        folder = config.parent
        records = _records(folder)
        last: dict[str, Any] = {}
        for record in records:
            last.update(record)
        facts = {"name": folder.name, "made": config.stat().st_mtime, "last": last, "nodes": _nodes(folder)}
        found.append({**facts, **_state(folder)})
    return found


def states(runs: str) -> dict[str, str]:
    """The state of every run by its name."""
    return {
        config.parent.name: _state(config.parent)["state"] for config in sorted(Path(runs).glob("[!.]*/config.toml"))
    }


def read(run: str, offset: int) -> dict[str, Any]:
    """The run's log from byte `offset` on, in whole lines, and its state (which is no older than the text)."""
    folder = Path(run)
    if not folder.exists():
        raise ValueError("there is no such run here")
    state = _state(folder)
    log = folder / "log.jsonl"
    text = b""
    if log.exists():
        with log.open("rb") as stream:
            stream.seek(offset)
            text = stream.read()
    text = text[: text.rfind(b"\n") + 1]
    return {"text": text.decode("utf-8", "replace"), "offset": offset + len(text), **state}


def files(run: str) -> dict[str, dict[str, Any]]:
    """Size in bytes and sha256 of every file that is worth fetching."""
    folder = Path(run)
    kept = [p for p in sorted(folder.rglob("*")) if _plain(p) and p.relative_to(folder).parts[0] not in PRIVATE]
    return {str(p.relative_to(folder)): {"size": p.stat().st_size, "sha256": _sha256(p)} for p in kept}


def remove(run: str, store: str) -> dict[str, Any]:
    """Delete a run that doesn't run, and the inputs that no other run uses."""
    folder = Path(run)
    if not folder.exists():
        raise ValueError("there is no such run here")
    if _state(folder)["state"] in ("running", "queued"):
        raise ValueError("it is still going; stop it first with `sdfleet train stop`")
    blobs = [_blob(store, _sha256(p)) for p in (folder / "inputs").rglob("*") if _plain(p)]
    gone = folder.parent / f".{folder.name}.gone"
    folder.rename(gone)
    _tidy(folder.parent, Path(store))
    for verb in ("disable", "reset-failed"):
        subprocess.run(["systemctl", verb, f"lora-train@{folder.name}.service"], stderr=subprocess.DEVNULL)
    for blob in blobs:
        if blob.exists() and blob.stat().st_nlink == 1:
            blob.unlink()
    return {}


def _tidy(runs: Path, store: Path) -> None:
    """Remove what is being removed, and what controllers that were killed left behind."""
    for gone in runs.glob(".*.gone"):
        shutil.rmtree(gone)
    for arrived in store.glob("incoming-*"):
        if time.time() - arrived.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(arrived, ignore_errors=True)


def _state(folder: Path) -> dict[str, Any]:
    """The one decision of a run's state; `reason` says why where there is a why, `gpus` lists those that it holds.

    created (never started), queued, running, finished, failed or stopped.
    """
    unit = f"lora-train@{folder.name}.service"
    command = ["systemctl", "show", unit, "--property=ActiveState,Result,InvocationID"]
    shown = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode()
    unit_state = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if unit_state.get("ActiveState") in ("active", "activating", "deactivating", "reloading"):
        told = _json(folder / "turn-state.json")
        if told.get("invocation") != unit_state.get("InvocationID"):
            told = {}  # of an earlier start, or of a program that wrote none
        state = told.get("state", "running")
        return {"state": state, "reason": told["text"] if state == "queued" else "", "gpus": told.get("gpus", [])}
    ended = _json(folder / "run.json").get("ended") or {}
    if ended.get("how") in ("finished", "failed"):
        return _over(str(ended["how"]), str(ended.get("reason", "")))
    last = (_records(folder) or [{}])[-1]
    if last.get("event") == "error":
        return _over("failed", str(last.get("message", "")))
    if unit_state.get("Result", "success") != "success":
        return _over("failed", _last_words(unit) or f"{unit} ended with {unit_state['Result']}")
    return _over("stopped" if last or (folder / "turn-state.json").exists() else "created", "")


def _over(state: str, reason: str) -> dict[str, Any]:
    return {"state": state, "reason": reason, "gpus": []}


def _nodes(folder: Path) -> dict[str, Any] | None:
    """The place of this host in a run that several share."""
    try:
        found: dict[str, Any] | None = json.loads((folder / "turn.json").read_text(encoding="utf-8")).get("nodes")
    except (OSError, ValueError, AttributeError):
        return None
    return found


def _json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _last_words(unit: str) -> str:
    """The last line the run itself wrote, without what systemd says about it."""
    command = ["journalctl", f"_SYSTEMD_UNIT={unit}", "--lines=1", "--output=cat", "--quiet"]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode(errors="replace")
    return said.strip()


def _records(folder: Path) -> list[dict[str, Any]]:
    log = folder / "log.jsonl"
    records = []
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records


def _plain(path: Path) -> bool:
    """Whether it is a file itself: a link that the run made could point anywhere."""
    return path.is_file() and not path.is_symlink()


def _blob(store: str, sha256: str) -> Path:
    return Path(store, "sha256", sha256[:2], sha256)


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
