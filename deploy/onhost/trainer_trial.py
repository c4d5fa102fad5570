"""Compare the trainer that was installed with the one before it. Runs on a host; see the package's docstring."""

from __future__ import annotations

import json
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

from deploy.onhost import trainer_turns
from roles.onhost import confine, files, gpu_guests, gpus, init, own_archive
from roles.onhost.gpu_guests import Refused
from roles.onhost.prune import MANIFEST

NOTHING: dict[str, Any] = {"same_environment": False, "runs": {}, "failed": {}, "unmeasured": ""}


def main(
    app: str,
    envs: str,
    old: str,
    python: list[str],
    limits: dict[str, Any],
    scope: list[str],
    locks: str,
    allowed: int,
    guests: dict[str, Any],
    **wants: Any,
) -> dict[str, Any]:
    """What deploy/onhost/trainer_turns.py has measured of `old` and the release in use, which is `new`.

    `new` is empty if that is the old one. `unmeasured` is why nothing was measured, if that is no trainer's fault.

    + app, envs: the trainer's folder, and that of environments
    + python: the words of the Python that runs it as the user that trains
    + limits: of a run's process, as roles/onhost/confine.py has them
    + scope: the words before it, under systemd, that limit all its processes together
    + locks: the folder of the runs' locks
    + allowed: on how many GPUs runs may train
    + guests: what draws on a GPU, as a run's turn.json has it
    """
    releases = Path(app) / "releases"
    new = (Path(app) / "current").resolve().name
    if new == old:
        return {**NOTHING, "new": ""}
    if not (releases / old / MANIFEST).is_file():
        return {**NOTHING, "new": new, "unmeasured": "the old release was removed; see trainer.keep_releases"}
    try:
        wants["gpu"] = gpu = _gpu(allowed, guests)
    except (TimeoutError, Refused) as error:
        return {**NOTHING, "new": new, "unmeasured": str(error)}
    wants["lock"] = f"{locks}/{f'gpu-{gpu}' if gpu else 'cpu'}"
    environments = {name: files.read_json(releases / name / MANIFEST).get("environment") for name in (old, new)}
    wants["trainers"] = {key: str(releases / name / "bin/lora-train") for key, name in (("old", old), ("new", new))}
    wants["python"] = f"{envs}/{environments[new]}/bin/python"
    wants["code"] = str(releases / new / "lib")
    done = subprocess.run(
        [*(scope if init.is_systemd() else ()), *python, *own_archive.words(trainer_turns.__name__)],
        input=json.dumps(wants).encode(),
        capture_output=True,
        check=False,
        pass_fds=own_archive.descriptors(),
        preexec_fn=partial(confine.limit, limits),
    )
    if done.returncode:
        how = trainer_turns.killed(done.returncode) or f"it ended with {done.returncode}"
        said = done.stderr.decode(errors="replace").strip().splitlines() or [how]
        return {**NOTHING, "new": new, "unmeasured": said[-1][-300:]}
    measured: dict[str, Any] = json.loads(done.stdout)
    same = environments[old] == environments[new]
    return {**NOTHING, "new": new, "same_environment": same, **measured}


def _gpu(allowed: int, guests: dict[str, Any]) -> str:
    """The GPU to train on, one on which nothing draws if there is any; empty for the CPU.

    Raises Refused where a run would not begin either, and TimeoutError.
    """
    cards = [str(card["index"]) for card in gpus.cards()[:allowed]]
    drawing = {str(guest["gpu"]): guest for guest in gpu_guests.running(guests)}
    gpu = next((card for card in cards if card not in drawing), cards[0] if cards else "")
    if gpu in drawing and (policy := drawing[gpu]["policy"]) != "unload":
        raise Refused(f"{drawing[gpu]['unit']} uses GPU {gpu}, and trainer.beside_webui is {policy}")
    return gpu
