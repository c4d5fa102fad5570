"""The trainer that made a run, from root's copy of its code and lock on the run's host."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.runs.transfer import RunHost
from inventory.errors import SdfleetError
from roles.operations.application import Environment
from roles.trainer.release import Release

FILES = ("manifest.json", "training.zip", "requirements.lock")
KEY = re.compile(r"[0-9a-f]{16}")


class NoTrainerError(SdfleetError):
    """A host has no copy of a trainer's code and lock."""


def release_named(record: Mapping[str, Any]) -> str:
    """The trainer's release in a run's record, which the run itself wrote. Raises SdfleetError if it is invalid."""
    code = record.get("code")
    release = str(code.get("release", "")) if isinstance(code, dict) else ""
    if not KEY.fullmatch(release):
        raise SdfleetError(f"its record has no valid trainer release ({release!r}), so the run cannot be reproduced")
    return release


def bring(origin: RunHost, release: str, into: Path) -> None:
    """Download root's copy of a trainer's code and lock from the host `origin`. NoTrainerError if it has none."""
    paths, remote = origin.paths, origin.remote
    remote.start("keep_trainers", paths.app("trainer"), paths.envs)
    for name in FILES:
        answer = remote.run(["base64", "-w0", str(paths.trainer_sources / release / name)], check=False)
        if answer.status:
            raise NoTrainerError(
                f"{origin.name} has neither the trainer {release} nor root's copy of its code and lock, so it cannot "
                "be built again; the copy in the run's environment/ was written by the run itself and is not trusted"
            )
        into.joinpath(name).write_bytes(base64.b64decode(answer.out))


def trainer_of(folder: Path) -> Release:
    """The release whose files `bring` put into `folder`. Raises SdfleetError if they do not match its id."""
    try:
        told = json.loads(folder.joinpath("manifest.json").read_text(encoding="utf-8"))
        lock = folder.joinpath("requirements.lock").read_text(encoding="utf-8")
        release = Release(Environment(lock=lock, python=told["python"]), folder.joinpath("training.zip").read_bytes())
    except (OSError, ValueError, KeyError, binascii.Error) as error:
        raise SdfleetError(f"{folder}: the trainer's code and lock are damaged ({error})") from error
    if release.key != told["id"]:
        raise SdfleetError(f"{folder}: code and lock make the trainer {release.key}, not {told['id']}")
    return release
