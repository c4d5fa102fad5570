"""Put a trained LoRA into the content store and the folder of LoRAs. Runs on the host; see the package's docstring."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from roles.onhost import nofollow, nofollow_changes, services
from roles.onhost.drawing_applications import APPLICATIONS, Application
from roles.onhost.lock_file import open_lock
from roles.onhost.loopback import AnswerError


def main(
    run: str, sha256: str, incoming: str, blob: str, link: str, manifest: str, ports: dict[str, int]
) -> dict[str, Any]:
    """Check, store and link the file, record it in the manifest, and have what draws look at it.

    + ports: of the applications that draw, by role; `refreshed` are those that could be told
    """
    arrived, stored, name = Path(incoming), Path(blob), Path(link)
    if arrived.exists():
        if hashlib.sha256(arrived.read_bytes()).hexdigest() != sha256:
            arrived.unlink()
            return {"error": "the file arrived damaged; publish it again"}
        stored.parent.mkdir(parents=True, exist_ok=True)
        arrived.replace(stored)
    try:
        before = nofollow.target_of(name)
        taken = nofollow.exists(name) and not before
    except OSError as error:
        return {"error": str(error)}
    if taken:
        return {"error": f"{name} is a file that sdfleet did not put there; choose another name with --as"}
    changed = before != blob
    try:
        # Recorded first: apply removes links that are not recorded, and the disk may be full after this.
        _write_down(Path(manifest), link, {"source": f"run:{run}", "sha256": sha256})
    except ValueError:
        return {"error": f"{manifest} is damaged; restore it from a backup, or delete it and publish all LoRAs again"}
    except OSError as error:
        return {"error": f"{manifest} cannot be written: {error.strerror}"}
    if changed:
        nofollow_changes.make_alike(name.parent)
        # The WebUI keeps the old hash for a name if its file is not newer than before.
        os.utime(stored)
        nofollow_changes.link(name, blob)
    refreshed = [app for app, port in ports.items() if _refresh(APPLICATIONS[app], port)]
    return {"changed": changed, "replaced": bool(changed and before), "refreshed": refreshed}


def _write_down(manifest: Path, name: str, entry: dict[str, str]) -> None:
    """Add an entry under a lock, because several may publish at once. Raises ValueError if the manifest is damaged."""
    with os.fdopen(open_lock(manifest.with_name(f".{manifest.name}.lock")), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = json.loads(manifest.read_text()) if manifest.exists() else {}
        if not isinstance(known, dict):
            raise ValueError("no table")
        if known.get(name) != entry:
            nofollow_changes.write(manifest, json.dumps({**known, name: entry}, indent=1, sort_keys=True).encode())


def _refresh(app: Application, port: int) -> bool:
    """Have a service read the file; False if it is not running: then it finds it when it starts.

    The unit is active only when it is ready: an earlier HTTP request would kill a WebUI.
    """
    if not services.is_active(app.UNIT):
        return False
    try:
        app.refresh_loras(port, seconds=30)
    except AnswerError:
        return False
    return True
