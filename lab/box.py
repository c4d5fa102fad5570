"""A complete local fleet: the lab's hosts, every upstream they download from, and a fleet.toml that uses them."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from inventory.errors import SdfleetError
from lab import fleet, lifecycle, locks
from lab.files import delete
from lab.handle import Lab
from lab.lifecycle import Say, quiet
from lab.network import GATEWAY
from lab.orders import PYTHON
from lab.state import LabFolder, Rented, Service, default_folder
from lab.upstreams.catalog import COMFYUI_TAG, WEBUI_TAG, Catalog, build
from lab.upstreams.control import Control
from lab.upstreams.service import Ports

UPSTREAMS = "upstreams"
GROUPS = ("webui", "train")
START_SECONDS = 180
"""Limit for the start of a stand-in that draws, on two busy cores."""

LOCK_SECONDS = 120
TREE = Path(__file__).resolve().parents[1]

TORCH = "torch==2.13.0\n"
"""The build that the stand-in WebUI names, so that both environments share one download."""


def up(
    hosts: int = 2,
    folder: Path | None = None,
    say: Say = quiet,
    upstreams: Path | None = None,
    containers: Sequence[Rented] = (),
    release: str | None = None,
) -> Lab:
    """`lab.up` with upstreams and a fleet.toml; arguments and errors are the same.

    With `upstreams`, a folder of bare repositories (OWNER/NAME.git), GitHub's stand-in serves these first and the
    fleet.toml is for the real applications: it names nothing but the hosts, and the locks that sdfleet ships apply.
    """
    path = folder or default_folder()
    services = [service(path, upstreams)]
    running = lifecycle.up(hosts, path, services, say, upstreams is not None, containers, release)
    if not running.fleet.exists():
        write_plain_fleet(running) if upstreams else write_fleet(running, say=say)
    return running


def write_plain_fleet(lab: Lab) -> Path:
    """Make the upstreams' content, and write a fleet.toml with the hosts and no other settings.

    Returns the file's path. The user runs `sdfleet lock`, after adding models.
    """
    build(lab.folder.upstreams)
    return fleet.write(lab, GROUPS, {"trainer": {"gpus": 0}})


@contextlib.contextmanager
def attached(
    hosts: int = 2,
    say: Say = quiet,
    layers: Sequence[Path] = (),
    containers: Sequence[Rented] = (),
    release: str | None = None,
) -> Iterator[Lab]:
    """`lab.attached` in a new folder, with upstreams that have no content yet: `write_fleet` makes it."""
    path = lifecycle.new_folder()
    try:
        with lifecycle.attached(hosts, path, [service(path)], say, layers, containers, release) as running:
            yield running
    finally:
        delete(path)


def control(lab: Lab) -> Control:
    """The client for the upstreams' faults and their log."""
    return Control(lab.service_url(UPSTREAMS))


def write_fleet(
    lab: Lab,
    file: Path | None = None,
    say: Say = quiet,
    *,
    pinned: bool = True,
    groups: Sequence[str] = GROUPS,
    **tables: Any,
) -> Path:
    """Make the upstreams' content and the locks, and write a fleet.toml that uses them.

    + file: its path, if not in the lab's folder; fleet.lock and the environments' locks go beside it
    + pinned: whether `pin` is called too
    + groups: the groups of every host; the stand-in ComfyUI is in the file if "comfyui" is one of them
    + tables: further top-level tables, or other values for these, e.g. webui={"port": 7861}
    Returns the file's path. Raises SdfleetError if CLIP's vocabulary cannot be downloaded, or if uv cannot lock an
    environment.
    """
    file = file or lab.fleet
    catalog = build(lab.folder.upstreams)
    say("Locking the Python environments of WebUI and trainer ...")
    trainer = _lock(lab, locks.train_requirements() + TORCH, file.with_name("trainer.lock.txt"))
    webui = _lock(lab, catalog.requirements.read_text(), file.with_name("webui.lock.txt"))
    gui = _lock(lab, catalog.lora_scripts_requirements.read_text(), file.with_name("lora_scripts.lock.txt"))
    made: dict[str, Any] = {
        "webui": _webui(catalog, webui),
        "lora_scripts": {
            "repository": catalog.lora_scripts.url,
            "ref": catalog.lora_scripts.commit,
            "device": "cpu",
            "requirements": gui,
        },
        "trainer": {"requirements": trainer, "gpus": 0},
        "models": _models(catalog),
    }
    if "comfyui" in groups:
        environment = _lock(lab, catalog.comfyui_requirements.read_text(), file.with_name("comfyui.lock.txt"))
        made["comfyui"] = {
            "repository": catalog.comfyui.url,
            "ref": COMFYUI_TAG,
            "device": "cpu",
            "requirements": environment,
            "start_timeout": START_SECONDS,
        }
    for name, table in tables.items():
        made[name] = {**made.get(name, {}), **table} if isinstance(table, dict) else table
    fleet.write(lab, groups, made, file)
    if pinned:
        pin(lab, file, say)
    return file


def pin(lab: Lab, file: Path, say: Say = quiet) -> None:
    """Run `sdfleet lock` for the fleet's `file` inside the lab's network, where the upstreams are.

    Raises SdfleetError with its output if it fails.
    """
    say("Pinning refs, models and environments in fleet.lock ...")
    start = f"import sys; sys.path.insert(0, {str(TREE)!r}); import sdfleet; sdfleet.main()"
    if not (TREE / "sdfleet.py").exists():  # installed: the package itself is named sdfleet
        start = "import sdfleet; sdfleet.main()"
    done = lab.run_in_netns([*PYTHON, "-c", start, "lock", "--fleet", str(file)], timeout=LOCK_SECONDS)
    if done.returncode:
        raise SdfleetError(f"sdfleet lock failed for the lab: {done.stderr.strip() or done.stdout.strip()}")


def service(folder: Path, repositories: Path | None = None) -> Service:
    """All stand-in upstreams for a lab in `folder`; `repositories` are served before GitHub's stand-in."""
    content = LabFolder(folder).upstreams
    command = [*PYTHON, "-m", "lab.upstreams", f"--root={content}", f"--bind={GATEWAY}"]
    if repositories:
        command.append(f"--repositories={repositories.absolute()}")
    return Service(name=UPSTREAMS, command=tuple(command), port=Ports().control)


def _lock(lab: Lab, requirements: str, file: Path) -> str:
    shutil.copyfile(locks.lock(lab, requirements), file)
    return file.name


def _webui(catalog: Catalog, requirements: str) -> dict[str, Any]:
    return {
        "repository": catalog.webui.url,
        "ref": WEBUI_TAG,
        "device": "cpu",
        "requirements": requirements,
        "start_timeout": START_SECONDS,
        "repositories": {name: vars(repository) for name, repository in catalog.repositories.items()},
        "packages": {name: vars(repository) for name, repository in catalog.packages.items()},
    }


def _models(catalog: Catalog) -> list[dict[str, str]]:
    name = Path(catalog.base_model_source).stem
    return [{"name": name, "kind": "checkpoint", "source": catalog.base_model_source}]
