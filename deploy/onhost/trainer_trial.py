"""Compare the trainer that was installed with the one before it. Runs on a host; see the package's docstring."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deploy.onhost import trainer_turns
from roles.onhost import files, own_archive
from roles.onhost.prune import MANIFEST


def main(app: str, envs: str, old: str, python: list[str], **wants: Any) -> dict[str, Any]:
    """What deploy/onhost/trainer_turns.py has measured of `old` and the release in use, which is `new`.

    `new` is empty if that is the old one, or if that is not here any more.

    + app, envs: the trainer's folder, and that of environments
    + python: the words of the Python that runs it as the user that trains
    """
    releases = Path(app) / "releases"
    new = (Path(app) / "current").resolve().name
    if new == old or not (releases / old / MANIFEST).is_file():
        return {"new": ""}
    environments = {name: files.read_json(releases / name / MANIFEST).get("environment") for name in (old, new)}
    wants["trainers"] = {key: str(releases / name / "bin/lora-train") for key, name in (("old", old), ("new", new))}
    wants["python"] = f"{envs}/{environments[new]}/bin/python"
    wants["code"] = str(releases / new / "lib")
    done = own_archive.run(trainer_turns.__name__, json.dumps(wants).encode(), python)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"it ended with {done.returncode}"]
        return {"new": new, "same_environment": False, "runs": {}, "failed": {"": said[-1][-300:]}}
    measured: dict[str, Any] = json.loads(done.stdout)
    return {"new": new, "same_environment": environments[old] == environments[new], **measured}
