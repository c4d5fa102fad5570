"""ComfyUI as an application of a host."""

import shlex
from functools import partial

from roles.accounts import COMFYUI
from roles.comfyui.config import Comfyui
from roles.comfyui.release import CUSTOM_NODES, names
from roles.comfyui.service import UNIT, folders_file, folders_text
from roles.managers import Manager
from roles.operations.application import CODE, Application, Release
from roles.operations.requirements import requirements_met
from roles.operations.sandbox import bounded, tried
from roles.operations.undrawn import report_undrawn
from roles.paths import Folder, Paths

OWN_FOLDERS = ("user", "input", "output", "cache")
"""Folders below its data folder that it writes to."""
FAILED = "IMPORT FAILED"
"""What it says of a custom node that cannot be loaded, and goes on."""
TRIAL = f"""
base=$(mktemp -d) && trap 'rm -rf "$base"' EXIT && mkdir "$base/user" "$base/custom_nodes" || exit 1
for node in ../{CUSTOM_NODES}/*; do
    [ ! -d "$node" ] || ln -s "$(realpath "$node")" "$base/custom_nodes/" || exit 1
done
"$0" main.py --quick-test-for-ci --cpu --disable-api-nodes --base-directory "$base" \\
    --database-url "sqlite:///$base/user/comfyui.db" >"$base/log" 2>&1
status=$?
cat "$base/log"
! grep -q '{FAILED}' "$base/log" && exit $status
"""
"""Loads all of it with its custom nodes, in its code folder and with its Python as $0, and draws nothing."""


def application(comfyui: Comfyui, paths: Paths, release: Release, text: str, manager: Manager) -> Application:
    """ComfyUI, with the text of its unit."""
    data = paths.data("comfyui")
    # Nodes that people put there by hand, as root.
    own = [Folder(data / "custom_nodes"), *(Folder(data / name, COMFYUI, COMFYUI) for name in OWN_FOLDERS)]
    return Application(
        "comfyui",
        release.id,
        release.manifest(),
        release.environment,
        comfyui.keep_releases,
        trees=release.trees,
        finish=finishing(paths, release, manager),
        folders=own,
        texts={folders_file(paths): folders_text(paths)},
        unit=manager.file(UNIT),
        unit_text=text,
        manager=manager,
        report=partial(report_undrawn, UNIT, COMFYUI),
    )


def finishing(paths: Paths, release: Release, manager: Manager) -> list[str]:
    """Commands that complete a release in its build folder, and check that it starts with what it has."""
    env = shlex.quote(str(release.environment.folder(paths)))
    required = [f"{CUSTOM_NODES}/{name}/requirements.txt" for name in names(release)]
    trial = tried(COMFYUI, manager, {"HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}, str(CODE))
    check = bounded(f"{trial} sh -c {shlex.quote(TRIAL)} {env}/bin/python")
    made = f"mkdir -p {CUSTOM_NODES} && ln -sfn {env} env"
    return [made, *requirements_met(COMFYUI, required), check]
