"""Compare the trainer that was installed with the one before it. Runs on a host; see the package's docstring."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deploy.onhost import trainer_turns
from roles.onhost import files, own_archive
from roles.onhost.prune import MANIFEST

NOTHING: dict[str, Any] = {"same_environment": False, "runs": {}, "failed": {}, "unmeasured": ""}


def main(app: str, envs: str, old: str, python: list[str], **wants: Any) -> dict[str, Any]:
    """What deploy/onhost/trainer_turns.py has measured of `old` and the release in use, which is `new`.

    `new` is empty if that is the old one. `unmeasured` is why nothing was measured, if that is no trainer's fault.

    + app, envs: the trainer's folder, and that of environments
    + python: the words of the Python that runs it as the user that trains
    """
    releases = Path(app) / "releases"
    new = (Path(app) / "current").resolve().name
    if new == old:
        return {**NOTHING, "new": ""}
    if not (releases / old / MANIFEST).is_file():
        return {**NOTHING, "new": new, "unmeasured": "the old release was removed; see trainer.keep_releases"}
    environments = {name: files.read_json(releases / name / MANIFEST).get("environment") for name in (old, new)}
    wants["trainers"] = {key: str(releases / name / "bin/lora-train") for key, name in (("old", old), ("new", new))}
    wants["python"] = f"{envs}/{environments[new]}/bin/python"
    wants["code"] = str(releases / new / "lib")
    done = own_archive.run(trainer_turns.__name__, json.dumps(wants).encode(), python)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"it ended with {done.returncode}"]
        return {**NOTHING, "new": new, "unmeasured": said[-1][-300:]}
    measured: dict[str, Any] = json.loads(done.stdout)
    same = environments[old] == environments[new]
    return {**NOTHING, "new": new, "same_environment": same, **measured}
