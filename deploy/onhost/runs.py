"""Create, list, read and remove a host's training runs. Runs there; see the package's docstring.

A run's folder holds config.toml, turn.json and inputs/ (owned by root, so that the run cannot change them), and what
the run writes: log.jsonl, output/, checkpoint/, and run.json, which says how it ended. The folder itself belongs to
root and has the sticky bit: the run can add files, but neither remove nor rename root's. Files of the run are
untrusted: no link is followed, only regular files are opened, and sizes are limited. Inputs are hard links into a
content-addressed store, so that a picture that many runs use is sent and stored once.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from deploy.onhost.hashing import sha256_of
from deploy.onhost.run_inputs import create, inputs, missing, remove
from deploy.onhost.run_states import LOG_BYTES, list_runs, names, state_of, states
from roles.onhost import gpus, nofollow, nofollow_changes, turn_state

LARGEST = 8_000_000_000
"""Largest file that is fetched, in bytes: a run can make one that is larger than any disk."""
LARGEST_RUN = 500_000_000_000
MOST_FILES = 20_000
"""Bytes and files of a run that are fetched; a LoRA and ten pictures at each of a thousand epochs are below."""
TOO_MUCH = (
    f"it has more than {MOST_FILES} files or {LARGEST_RUN // 10**9} GB; "
    "remove what is not needed from its folder on the host, then fetch it again"
)
PRIVATE = ("inputs", "cache", "checkpoint", turn_state.FILE)
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


def capacity(runs: str, allowed: int) -> dict[str, Any]:
    """The GPUs that runs may use (total and free MiB, whether a run holds it), and the number of runs."""
    found = [state_of(Path(runs, name)) for name in names(runs)]
    held = [gpu for state in found for gpu in state["gpus"]]
    cards = [
        {"index": card["index"], "total": card["total"], "free": card["free"], "taken": card["index"] in held}
        for card in gpus.cards()
    ]
    waiting = [state["state"] for state in found]
    return {"gpus": cards[:allowed], "running": waiting.count("running"), "queued": waiting.count("queued")}


def config(run: str) -> str:
    """The run's config.toml. Only root can write it, unless an earlier trainer makes or made the run."""
    return nofollow.read(Path(run, "config.toml")).decode()


def began(run: str) -> dict[str, str]:
    """The trainer release that wrote the run's checkpoint, by its record; empty without checkpoint or record."""
    code = nofollow.read_json(Path(run, "run.json"), turn_state.LARGEST_RECORD).get("code")
    with contextlib.suppress(OSError):
        files = nofollow.files_below(Path(run, "checkpoint"))
        if isinstance(code, dict) and any(name.startswith("step-") for _, _, name in files):
            return {"release": str(code.get("release", ""))}
    return {"release": ""}


def turn(run: str, wants: dict[str, Any]) -> dict[str, Any]:
    """Change turn.json of a run that is not running."""
    file = Path(run, "turn.json")
    if state_of(file.parent)["state"] in ("running", "queued"):
        raise ValueError("it is still going; stop it first with `sdfleet train stop`")
    known = nofollow.read_json(file, owner=os.geteuid())
    if {**known, **wants} != known:  # if nothing changes, a full disk must not keep the run from continuing
        nofollow_changes.write(file, json.dumps({**known, **wants}).encode())
    return {}


def read(run: str, offset: int) -> dict[str, Any]:
    """The run's log from byte `offset` on, in whole lines, and its state (read before the log)."""
    folder = Path(run)
    if not folder.exists():
        raise ValueError("no such run on this host")
    state = state_of(folder)
    text = b""
    with contextlib.suppress(OSError), nofollow.open_file(folder / "log.jsonl") as stream:
        stream.seek(offset)
        text = stream.read(LOG_BYTES)
    text = text[: text.rfind(b"\n") + 1]
    return {"text": text.decode("utf-8", "replace"), "offset": offset + len(text), **state}


def files(run: str) -> dict[str, dict[str, Any]]:
    """Size in bytes and sha256 of every file to fetch; no sha256 of one that is too large.

    Raises ValueError if all together are too much for the result of a run.
    """
    for _ in _fetched(run):  # all are counted before the first is read: to hash them takes an hour or more
        pass
    found: dict[str, dict[str, Any]] = {}
    for path, size, stream in _fetched(run):
        with contextlib.suppress(OSError):
            found[path] = {"size": size, "sha256": sha256_of(stream, size) if size <= LARGEST else None}
    return found


def _fetched(run: str) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Path, size in bytes and content of every file to fetch. Raises ValueError if all together are too much."""
    count = whole = 0
    for path, parent, name in nofollow.files_below(run):
        if path.partition("/")[0] in PRIVATE:
            continue
        with contextlib.suppress(OSError), nofollow.open_in(parent, name) as stream:
            size = os.fstat(stream.fileno()).st_size
            count += 1
            whole += size if size <= LARGEST else 0
            if whole > LARGEST_RUN or count > MOST_FILES:
                raise ValueError(TOO_MUCH)
            yield path, size, stream
