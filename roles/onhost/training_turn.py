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

import fcntl
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from roles.onhost import commands, gpu_guests, gpus, systemd, turn_state
from roles.onhost.files import read_json
from roles.onhost.gpu_guests import Refused, load_again
from roles.onhost.lock_file import open_lock

POLL_SECONDS = 2.0
RELEASE = re.compile(r"[0-9a-f]{16}")


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
    return _take_cards(large, need, count, gpu_guests.running(wants), locks, folder)


def _take_cards(
    large: list[dict[str, Any]], need: int, count: int, guests: list[gpu_guests.Guest], locks: Path, folder: Path
) -> list[str]:
    """`count` cards whose locks and memory are free, those first on which nothing draws; empty if too few are."""
    drawing = {str(guest["gpu"]) for guest in guests}
    held: dict[str, int] = {}
    why = "the runs that hold the GPUs"
    for card in sorted(large, key=lambda card: (card["index"] in drawing, -card["free"])):
        if len(held) == count:
            break
        lock = _lock(locks / f"gpu-{card['index']}")
        if lock is None:
            continue
        if card["index"] in drawing:
            its = [guest for guest in guests if str(guest["gpu"]) == card["index"]]
            reason = gpu_guests.make_room(its, card, need, folder)
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


def waits(folder: Path, what: str) -> None:
    """Note that the run waits for `what`."""
    tell(folder, "queued", f"waiting for {what}", [])


def tell(folder: Path, state: str, text: str, cards: list[str]) -> None:
    """Write down the run's state, for programs, and set the unit's status text, for people."""
    turn_state.write(folder, state, text, cards, os.environ.get("INVOCATION_ID", ""))
    systemd.notify(f"STATUS={text}")


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
