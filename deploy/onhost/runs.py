"""Create, list, read and remove a host's training runs. Runs there; see the package's docstring.

A run's folder holds config.toml, turn.json and inputs/ (owned by root, so that the run cannot change them), and what
the run writes: log.jsonl, output/, checkpoint/, and run.json, which says how it ended. The folder itself belongs to
root and has the sticky bit: the run can add files, but neither remove nor rename root's. Files of the run are
untrusted: no link is followed, only regular files are opened, and sizes are limited. Inputs are hard links into a
content-addressed store, so that a picture that many runs use is sent and stored once.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from roles.onhost import nofollow

OWN = 0o1775
"""Mode of a run's folder."""
LARGEST = 8_000_000_000
"""Largest file that is fetched, in bytes: a run can make one that is larger than any disk."""
LOG_BYTES = 64_000_000
"""Bytes of a log that are read; enough for half a million steps."""
ABANDONED_SECONDS = 86400
"""Uploaded inputs that belong to no run are deleted after this time."""
TURN_STATE = "turn-state.json"
PRIVATE = ("inputs", "cache", "checkpoint", TURN_STATE)
"""Parts of a run that are not fetched."""


def main(verb: str, **values: Any) -> Any:
    """Do `verb`; errors are returned as {"error": sentence}."""
    verbs: dict[str, Callable[..., Any]] = {
        "missing": missing,
        "create": create,
        "list": list_runs,
        "read": read,
        "files": files,
        "remove": remove,
        "capacity": capacity,
        "inputs": inputs,
        "config": config,
        "began": began,
        "turn": turn,
        "states": states,
    }
    try:
        return verbs[verb](**values)
    except OSError as error:
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        return {"error": f"{where}{error.strerror or error}"}
    except ValueError as error:
        return {"error": str(error)}


def missing(store: str, hashes: list[str]) -> list[str]:
    """Which of `hashes` are missing or altered in the store: an edited input of a run is the store's file too."""
    blobs = {sha256: _blob(store, sha256) for sha256 in hashes}
    return [sha256 for sha256, blob in blobs.items() if not blob.exists() or _hash_of(blob) != sha256]


def create(
    run: str, store: str, incoming: str, inputs: dict[str, str], config: str, turn: dict[str, Any], user: str
) -> dict[str, Any]:
    """Move the files in `incoming` into the store and create the folder `run`, completely or not at all."""
    final, arrived = Path(run), Path(incoming)
    if final.exists() and _state(final)["state"] != "created":
        raise ValueError("there is already a run with this name; choose another with --name")
    for file in sorted(arrived.glob("*")):
        if _hash_of(file) != file.name:
            raise ValueError(f"{file.name[:12]} arrived damaged; send it again")
        blob = _blob(store, file.name)
        blob.parent.mkdir(parents=True, exist_ok=True)
        file.replace(blob)
    shutil.rmtree(arrived, ignore_errors=True)
    half = final.parent / f".{final.name}.new"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    for name, sha256 in inputs.items():
        target = half / "inputs" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(_blob(store, sha256), target)
    for name, text in (("config.toml", config), ("turn.json", json.dumps(turn))):
        with (half / name).open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
    if "program" in turn:
        # Trainers of older sdfleets write the config anew, complete, which they can only where it is theirs.
        shutil.chown(half / "config.toml", user, user)
    shutil.chown(half, "root" if os.geteuid() == 0 else user, user)
    half.chmod(OWN)
    if final.exists():  # left by a controller that was killed before it started the run
        final.rename(_gone(final))
    half.rename(final)
    _tidy(final.parent, Path(store))  # now that the run holds its inputs
    return {}


def capacity(runs: str, allowed: int) -> dict[str, Any]:
    """The GPUs that runs may use (total and free MiB, whether a run holds it), and the number of runs."""
    command = ["nvidia-smi", "--query-gpu=index,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        rows = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode().splitlines()
    except OSError:
        rows = []
    cells = [[cell.strip() for cell in row.split(",")] for row in rows]
    states = [_state(Path(runs, name)) for name in _names(runs)]
    held = [gpu for state in states for gpu in state["gpus"]]
    gpus = [
        {"index": c[0], "total": int(c[1]), "free": int(c[2]), "taken": c[0] in held}
        for c in cells
        if len(c) == 3 and c[1].isdigit() and c[2].isdigit()
    ]
    waiting = [state["state"] for state in states]
    return {"gpus": gpus[:allowed], "running": waiting.count("running"), "queued": waiting.count("queued")}


def inputs(run: str) -> dict[str, str]:
    """Current sha256 of every input, by its path below inputs/."""
    return dict(_hashed(Path(run, "inputs")))


def config(run: str) -> str:
    """The run's config.toml. Only root can write it, unless an earlier trainer makes or made the run."""
    return nofollow.read(Path(run, "config.toml")).decode()


def began(run: str) -> dict[str, str]:
    """The trainer release that wrote the run's checkpoint, by its record; empty without checkpoint or record."""
    code = nofollow.read_json(Path(run, "run.json"), LOG_BYTES).get("code")
    with contextlib.suppress(OSError):
        if isinstance(code, dict) and any(nofollow.files_below(Path(run, "checkpoint"))):
            return {"release": str(code.get("release", ""))}
    return {"release": ""}


def turn(run: str, wants: dict[str, Any]) -> dict[str, Any]:
    """Change turn.json of a run that is not running."""
    file = Path(run, "turn.json")
    if _state(file.parent)["state"] in ("running", "queued"):
        raise ValueError("it is still going; stop it first with `sdfleet train stop`")
    known = nofollow.read_json(file, owner=os.geteuid())
    if {**known, **wants} != known:  # if nothing changes, a full disk must not keep the run from continuing
        nofollow.write(file, json.dumps({**known, **wants}).encode())
    return {}


def list_runs(runs: str) -> list[dict[str, Any]]:
    """Every run: name, state, and last progress."""
    found = []
    for name in _names(runs):
        folder = Path(runs, name)
        records = _records(folder)
        last: dict[str, Any] = {}
        for record in records:
            last.update(record)
        facts = {"name": folder.name, "made": _made(folder), "last": last, "nodes": _nodes(folder)}
        found.append({**facts, **_state(folder)})
    return found


def states(runs: str) -> dict[str, str]:
    """Run name -> state."""
    return {name: _state(Path(runs, name))["state"] for name in _names(runs)}


def read(run: str, offset: int) -> dict[str, Any]:
    """The run's log from byte `offset` on, in whole lines, and its state (read before the log)."""
    folder = Path(run)
    if not folder.exists():
        raise ValueError("no such run on this host")
    state = _state(folder)
    text = b""
    with contextlib.suppress(OSError), nofollow.open_file(folder / "log.jsonl") as stream:
        stream.seek(offset)
        text = stream.read(LOG_BYTES)
    text = text[: text.rfind(b"\n") + 1]
    return {"text": text.decode("utf-8", "replace"), "offset": offset + len(text), **state}


def files(run: str) -> dict[str, dict[str, Any]]:
    """Size in bytes and sha256 of every file to fetch."""
    found = {}
    for path, parent, name in nofollow.files_below(run):
        if path.partition("/")[0] in PRIVATE:
            continue
        with contextlib.suppress(OSError), nofollow.open_in(parent, name) as stream:
            size = os.fstat(stream.fileno()).st_size
            if size <= LARGEST:
                found[path] = {"size": size, "sha256": _sha256(stream, size)}
    return found


def remove(run: str, store: str) -> dict[str, Any]:
    """Delete a run that is not running, and the inputs that no other run uses."""
    folder = Path(run)
    if not folder.exists():
        raise ValueError("no such run on this host")
    if _state(folder)["state"] in ("running", "queued"):
        raise ValueError("it is still going; stop it first with `sdfleet train stop`")
    folder.rename(_gone(folder))
    for verb in ("disable", "reset-failed"):
        subprocess.run(["systemctl", verb, f"lora-train@{folder.name}.service"], stderr=subprocess.DEVNULL)
    _tidy(folder.parent, Path(store))
    return {}


def _gone(run: Path) -> Path:
    """The temporary name of a run that is being removed; `_tidy` deletes all that have such a name."""
    place = run.parent / f".{run.name}.gone"
    shutil.rmtree(place, ignore_errors=True)
    return place


def _tidy(runs: Path, store: Path) -> None:
    """Delete runs that are being removed, with inputs that no other run uses, and leftovers of killed controllers."""
    for gone in runs.glob(".*.gone"):
        # The store first: the folder is what names the inputs.
        for sha256, names in Counter(sha256 for _, sha256 in _hashed(gone / "inputs")).items():
            blob = _blob(str(store), sha256)
            if blob.exists() and blob.stat().st_nlink <= 1 + names:
                blob.unlink()
        shutil.rmtree(gone)
    for arrived in store.glob("incoming-*"):
        if time.time() - arrived.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(arrived, ignore_errors=True)


def _state(folder: Path) -> dict[str, Any]:
    """A run's `state`: created (never started), queued, running, finished, failed or stopped.

    `reason` says why, if there is a reason; `gpus` lists the GPUs that it holds. All others get the state from here.
    """
    unit = f"lora-train@{folder.name}.service"
    command = ["systemctl", "show", unit, "--property=ActiveState,Result,InvocationID"]
    shown = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode()
    unit_state = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if unit_state.get("ActiveState") in ("active", "activating", "deactivating", "reloading"):
        told = _told(folder)
        if told["invocation"] != unit_state.get("InvocationID"):  # written by an earlier start, or not at all
            return {"state": "running", "reason": "", "gpus": []}
        queued = told["state"] == "queued"
        return {"state": told["state"], "reason": told["text"] if queued else "", "gpus": told["gpus"]}
    ended = _ended(folder)
    if ended.get("how") in ("finished", "failed"):
        return _over(ended["how"], ended.get("reason", ""))
    last = (_records(folder) or [{}])[-1]
    if last.get("event") == "error":
        return _over("failed", str(last.get("message", "")))
    if unit_state.get("Result", "success") != "success":
        return _over("failed", _last_words(unit) or f"{unit} ended with {unit_state['Result']}")
    return _over("stopped" if last or nofollow.exists(folder / TURN_STATE) else "created", "")


def _over(state: str, reason: str) -> dict[str, Any]:
    return {"state": state, "reason": reason, "gpus": []}


def _nodes(folder: Path) -> dict[str, Any] | None:
    """This host's place in a run on several hosts."""
    return nofollow.read_json(folder / "turn.json").get("nodes")


def _told(folder: Path) -> dict[str, Any]:
    """The run's state file of the GPU queue. Untrusted: the run can write to it too."""
    found = nofollow.read_json(folder / TURN_STATE)
    gpus = found.get("gpus")
    return {
        "invocation": found.get("invocation"),
        "state": "queued" if found.get("state") == "queued" else "running",
        "text": str(found.get("text", "")),
        "gpus": [str(gpu) for gpu in gpus] if isinstance(gpus, list) else [],
    }


def _ended(folder: Path) -> dict[str, str]:
    """How and why the run ended, by its record; empty if the record does not say."""
    ended = nofollow.read_json(folder / "run.json", LOG_BYTES).get("ended")
    return {key: str(value) for key, value in ended.items()} if isinstance(ended, dict) else {}


def _last_words(unit: str) -> str:
    """The last line of the run itself in the journal, without systemd's own lines."""
    command = ["journalctl", f"_SYSTEMD_UNIT={unit}", "--lines=1", "--output=cat", "--quiet"]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode(errors="replace")
    return said.strip()


def _records(folder: Path) -> list[dict[str, Any]]:
    text = b""
    with contextlib.suppress(OSError), nofollow.open_file(folder / "log.jsonl") as stream:
        text = stream.read(LOG_BYTES)
    records = []
    for line in text.decode("utf-8", "replace").splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
            records += [record] if isinstance(record, dict) else []
    return records


def _names(runs: str) -> list[str]:
    """Names of the runs; other files in the folder are ignored."""
    folder = Path(runs)
    there = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in there if path.name[0] != "." and _made(path))


def _made(folder: Path) -> float:
    """When a run was made, in s since the epoch; 0 if it is no run."""
    with contextlib.suppress(OSError), nofollow.open_file(folder / "config.toml") as file:
        return os.fstat(file.fileno()).st_mtime
    return 0.0


def _hashed(folder: Path) -> Iterator[tuple[str, str]]:
    """Every regular file below a folder and its sha256; none if there is no folder."""
    with contextlib.suppress(FileNotFoundError):
        for path, parent, name in nofollow.files_below(folder):
            with contextlib.suppress(OSError), nofollow.open_in(parent, name) as stream:
                yield path, _sha256(stream, os.fstat(stream.fileno()).st_size)


def _blob(store: str, sha256: str) -> Path:
    return Path(store, "sha256", sha256[:2], sha256)


def _sha256(stream: IO[bytes], size: int) -> str:
    """Of the first `size` bytes."""
    digest = hashlib.sha256()
    while size > 0 and (block := stream.read(min(size, 1 << 20))):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest()


def _hash_of(file: Path) -> str:
    with file.open("rb") as stream:
        return _sha256(stream, os.fstat(stream.fileno()).st_size)
