"""The WebUI as an application of a host."""

import shlex
from functools import partial

from roles.accounts import WEBUI
from roles.managers import Manager
from roles.operations.application import CODE, Application, Release
from roles.operations.requirements import requirements_met
from roles.operations.sandbox import bounded, tried
from roles.operations.undrawn import report_undrawn
from roles.paths import Folder, Paths
from roles.webui import extensions
from roles.webui.config import Webui
from roles.webui.flavors import FLAVORS
from roles.webui.release import check_variables
from roles.webui.service import UNIT, options_file, options_text

SERVED_LINKS = ("config_states", "tmp")
"""Folders that the WebUI writes to beside its code; they are links into the data folder."""


def application(webui: Webui, paths: Paths, release: Release, text: str, manager: Manager) -> Application:
    """The WebUI, with the text of its unit."""
    data = paths.data("webui")
    own = [Folder(extensions.shown(paths))]
    # It makes folders there when it starts, also where a person put models by hand first, as root.
    own += [Folder(paths.webui_models, owner=WEBUI, group=WEBUI)]
    own += [Folder(data / name, owner=WEBUI, group=WEBUI) for name in (*SERVED_LINKS, "cache")]
    own += [Folder(place) for place in extensions.mounts(release, paths).values() if manager.mounts]
    return Application(
        "webui",
        release.id,
        release.manifest(),
        release.environment,
        webui.keep_releases,
        trees=release.trees,
        finish=finishing(webui, paths, release, manager),
        folders=own,
        texts={options_file(webui, paths): options_text(webui)},
        unit=manager.file(UNIT),
        unit_text=text,
        manager=manager,
        report=partial(report_undrawn, UNIT, WEBUI),
    )


def finishing(webui: Webui, paths: Paths, release: Release, manager: Manager) -> list[str]:
    """Commands that complete a release in its build folder, and check that the launcher finds nothing missing."""
    data, env = shlex.quote(str(paths.data("webui"))), shlex.quote(str(release.environment.folder(paths)))
    flavor = FLAVORS[webui.flavor]
    links = [f"ln -sfn {data}/{name} {CODE}/{name}" for name in SERVED_LINKS]
    packed = [name for file, xz in flavor.unpacked.items() for name in (xz, file)]
    unpacked = [shlex.join(["python3", "-I", str(paths.onhost), "unpack_xz", str(CODE), *packed])] if packed else []
    settings = {name: shlex.quote(value) for name, value in check_variables(webui).items()}
    trial = tried(WEBUI, manager, {"HOME": "/tmp", **settings}, str(CODE))
    words = ["launch.py", "--skip-torch-cuda-test", *flavor.check_arguments, "--exit"]
    check = bounded(f"{trial} {env}/bin/python {' '.join(words)}")
    required = [f"extensions/{name}/requirements.txt" for name in extensions.names(release)]
    # This is asked before what is kept is linked beside their files: the WebUI can write there, and a FIFO of that name
    # would never be read.
    met = requirements_met(WEBUI, required)
    return [*links, *unpacked, f"ln -sfn {env} env", *met, *extensions.kept_shown(release, paths), check]
