"""Gives a training run its turn: it waits for a GPU (or the CPU), takes it, and becomes the trainer.

    training_turn finished RUN            0 if the run may start, 1 if it has finished
    training_turn take RUN LOCKS PROGRAM  wait, take, start PROGRAM: APP/current/..., or what wrote the checkpoint
    training_turn after RUN               give back what was borrowed

Whoever holds the lock `queue` is the next one; it takes the lock of each GPU that it needs. All locks are the kernel's
(flock) and stay with the process through exec: however a run ends, they are free again. RUN/turn.json says what the
run needs. RUN/turn-state.json says what became of that: queued or running, since when, why or on which GPUs; the unit's
status text says the same for people.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from roles.onhost import commands, gpus, loopback, services, systemd, turn_state, webui_api
from roles.onhost.files import read_json
from roles.onhost.lock_file import open_lock

POLL_SECONDS = 2.0
UNLOAD_SECONDS = 60.0
"""How long the WebUI may take to give its memory back."""
ANSWER_SECONDS = 120.0
MARK = ".webui-unloaded"
RELEASE = re.compile(r"[0-9a-f]{16}")


class Refused(Exception):
    """The run can't have a turn on this host; the text says why."""


def main() -> None:
    """Do what the command line asks for."""
    sys.exit(do(*sys.argv[1:]))


def do(verb: str, run: str, *more: str) -> int:
    """Do `verb`; returns the exit code."""
    folder = Path(run)
    if verb == "finished":
        return 1 if finished(folder) else 0
    if verb == "after":
        load_again(folder)
        return 0
    locks, program = more
    try:
        take(folder, Path(locks), program)
    except Refused as refusal:
        print(refusal, file=sys.stderr)
    return 1


def finished(folder: Path) -> bool:
    """Whether the run's record says that it came to its end."""
    ended = read_json(folder / "run.json", turn_state.LARGEST_RECORD).get("ended")
    return isinstance(ended, dict) and ended.get("how") == "finished"


def take(folder: Path, locks: Path, program: str) -> None:
    """Wait for the run's turn and become its trainer. Raises Refused."""
    wants = read_json(folder / "turn.json")
    waits(folder, "the runs before it")
    queue = _open(locks / "queue")
    fcntl.flock(queue, fcntl.LOCK_EX)
    taken: list[str] = []
    while not taken:
        taken = _try(wants, locks, folder)
        if not taken:
            time.sleep(POLL_SECONDS)
    os.close(queue)
    cpu = taken == ["cpu"]
    # The numbers are nvidia-smi's; CUDA's own order is by speed.
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    os.environ["CUDA_VISIBLE_DEVICES"] = "" if cpu else ",".join(taken)
    program = wants.get("program") or trainer_of(folder, Path(program), wants.get("lost_trainer"))
    tell(folder, "running", "on the CPU" if cpu else f"on GPU {', '.join(taken)}", [] if cpu else taken)
    arguments = [program, "run", str(folder / "config.toml"), "--run", str(folder)]
    nodes = wants.get("nodes")
    if nodes:
        arguments += ["--nodes", str(nodes["count"]), "--node-rank", str(nodes["rank"]), "--meet", nodes["meet"]]
        interface = _interface(nodes["address"])
        if interface:
            # Else gloo and NCCL look up the host's own name, which may lead to 127.0.1.1.
            os.environ["GLOO_SOCKET_IFNAME"] = os.environ["NCCL_SOCKET_IFNAME"] = interface
    os.environ.pop("NOTIFY_SOCKET", None)
    os.execv(program, arguments)


def trainer_of(folder: Path, current: Path, lost: str | None = None) -> str:
    """The program of the trainer that wrote the run's checkpoint; `current` without one, or if nothing tells of which.

    Another trainer may refuse the checkpoint, because its settings have others beside them. Raises Refused if the
    release is not here any more.

    + lost: the release that cannot be built again, as `train resume` found; `current` takes its place
    """
    code = read_json(folder / "run.json", turn_state.LARGEST_RECORD).get("code")
    release = str(code.get("release")) if isinstance(code, dict) else ""
    app, inside = current.parents[2], current.relative_to(current.parents[1])
    began = app / "releases" / release / inside
    if not RELEASE.fullmatch(release) or not any((folder / "checkpoint").glob("step-*")):
        return str(current)
    if os.access(began, os.X_OK):
        return str(began)
    if release == lost:
        return str(current)
    raise Refused(
        f"{folder.name}: its checkpoint is of the trainer {release}, which this host has removed; "
        f"`sdfleet train resume {folder.name}` builds it again"
    )


def _try(wants: dict[str, Any], locks: Path, folder: Path) -> list[str]:
    """The GPUs taken now ("cpu" for none at all); empty if the run must wait on. Raises Refused."""
    try:
        found = [] if wants["device"] == "cpu" else gpus.cards()[: wants["allowed"]]
    except TimeoutError:  # else a run with device "auto" would train on the CPU
        waits(folder, f"nvidia-smi, which did not answer within {commands.SECONDS} s")
        return []
    if not found:
        if wants["device"] == "cuda":
            raise Refused("train.device is cuda, but no GPU may be used here: see trainer.gpus and `nvidia-smi`")
        if _lock(locks / "cpu") is None:
            waits(folder, "the run that holds the CPU")
            return []
        return ["cpu"]
    need, count = int(wants["memory_mb"]), int(wants["gpus"])
    large = [card for card in found if card["total"] >= need]
    if len(large) < count:
        have = ", ".join(f"GPU {card['index']} has {card['total']} MiB" for card in found)
        raise Refused(f"it needs {count} GPU(s) with {need} MiB each, but {have}; see resources.gpu_memory_mb")
    return _take_cards(large, need, count, wants.get("webui"), locks, folder)


def _take_cards(
    large: list[dict[str, Any]], need: int, count: int, webui: dict[str, Any] | None, locks: Path, folder: Path
) -> list[str]:
    """`count` cards whose locks and memory are free, those first that the WebUI doesn't use; empty if too few are."""
    guest = str(webui["gpu"]) if webui and webui["policy"] != "share" and _webui_runs(webui) else None
    held: dict[str, int] = {}
    why = "the runs that hold the GPUs"
    for card in sorted(large, key=lambda card: (card["index"] == guest, -card["free"])):
        if len(held) == count:
            break
        lock = _lock(locks / f"gpu-{card['index']}")
        if lock is None:
            continue
        if card["index"] == guest and webui:
            reason = _make_room(webui, card, need, folder)
        else:
            reason = None if card["free"] >= need else f"{need} MiB on GPU {card['index']}"
        if reason is None:
            held[card["index"]] = lock
        else:
            why = reason
            os.close(lock)
    if len(held) == count:
        return sorted(held, key=int)
    for lock in held.values():
        os.close(lock)
    waits(folder, why)
    return []


def _make_room(webui: dict[str, Any], card: dict[str, Any], need: int, folder: Path) -> str | None:
    """None if the run may use the WebUI's card now, else what it waits for. Raises Refused."""
    if webui["policy"] == "refuse":
        raise Refused(
            f"the WebUI uses GPU {card['index']}, and trainer.beside_webui is refuse: stop {webui['unit']}, or set it "
            "to wait, unload or share"
        )
    if webui["policy"] == "wait":
        return f"the WebUI to leave GPU {card['index']}"
    if services.state(webui["unit"]) != "active":
        return "the WebUI to have started"
    (folder / MARK).write_text(json.dumps(webui))
    try:
        webui_api.tell(webui["port"], "unload-checkpoint", ANSWER_SECONDS)
    except loopback.AnswerError:
        (folder / MARK).unlink()
        return "the WebUI to unload its model: it does not answer"
    deadline, free = time.monotonic() + UNLOAD_SECONDS, 0
    while time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            free = next((now["free"] for now in gpus.cards() if now["index"] == card["index"]), 0)
        if free >= need:
            return None
        time.sleep(1)
    load_again(folder)
    return f"{need} MiB on GPU {card['index']}: {free} are free with the WebUI's model unloaded"


def load_again(folder: Path) -> None:
    """Let the WebUI load the model that it unloaded for this run."""
    mark = folder / MARK
    webui = read_json(mark)
    if webui:
        if services.state(webui["unit"]) == "active":
            with contextlib.suppress(loopback.AnswerError):
                webui_api.tell(webui["port"], "reload-checkpoint", ANSWER_SECONDS)
        mark.unlink()


def waits(folder: Path, what: str) -> None:
    """Note that the run waits for `what`."""
    tell(folder, "queued", f"waiting for {what}", [])


def tell(folder: Path, state: str, text: str, cards: list[str]) -> None:
    """Write down the run's state, for programs, and set the unit's status text, for people."""
    turn_state.write(folder, state, text, cards, os.environ.get("INVOCATION_ID", ""))
    systemd.notify(f"STATUS={text}")


def _webui_runs(webui: dict[str, Any]) -> bool:
    return services.state(webui["unit"]) in ("active", "activating", "reloading")


def _interface(address: str) -> str | None:
    """The network interface that has `address`."""
    rows = (row.split() for row in commands.output("ip", "-o", "addr").splitlines())
    return next((row[1] for row in rows if len(row) > 3 and row[3].partition("/")[0] == address), None)


def _lock(file: Path) -> int | None:
    """The lock's descriptor, None if another run holds it."""
    opened = _open(file)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        return None
    return opened


def _open(file: Path) -> int:
    opened = open_lock(file)
    os.set_inheritable(opened, True)
    return opened
