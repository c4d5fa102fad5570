"""The WebUI as an application of a host."""

import logging
import shlex

from pyinfra.context import host

from roles.accounts import WEBUI
from roles.facts.seen import as_user
from roles.facts.survey import Survey
from roles.managers import Manager
from roles.operations.application import CODE, Application, Release
from roles.operations.sandbox import bounded, tried
from roles.paths import Folder, Paths
from roles.webui import extensions
from roles.webui.config import Webui
from roles.webui.release import check_variables
from roles.webui.service import STATE, UNIT, options_file, options_text, service_state

CHECK_REQUIREMENTS = """
import importlib.metadata, pathlib, sys
files = [file for file in map(pathlib.Path, sys.argv[1:]) if file.exists()]
if not files:
    sys.exit()
from packaging.requirements import InvalidRequirement, Requirement
lacking = []
for file in files:
    for line in file.read_text().splitlines():
        try:
            wanted = Requirement(line.partition("#")[0].strip())
            there = importlib.metadata.version(wanted.name)
        except InvalidRequirement:
            continue
        except importlib.metadata.PackageNotFoundError:
            there = None
        if not (wanted.marker and not wanted.marker.evaluate()) and (there is None or there not in wanted.specifier):
            lacking.append(f"{file.parent.name} needs {wanted}, the environment has {there or 'none'}")
if lacking:
    sys.exit("; ".join(lacking) + "; make a lock with it: sdfleet lock envs")
"""
"""Program for the environment's Python: exits with 1 if packages of requirements.txt files are missing."""

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
        report=report,
    )


def report() -> None:
    """Warn if the running WebUI has not drawn a picture."""
    state = service_state(host.get_fact(Survey, written_by={STATE: WEBUI}).text(STATE))
    if problem := state.get("problem"):
        host.log(f"{UNIT} runs, but has drawn nothing: {problem}", logging.getLogger("pyinfra").warning)


def finishing(webui: Webui, paths: Paths, release: Release, manager: Manager) -> list[str]:
    """Commands that complete a release in its build folder, and check that the launcher finds nothing missing."""
    data, env = shlex.quote(str(paths.data("webui"))), shlex.quote(str(release.environment.folder(paths)))
    links = [f"ln -sfn {data}/{name} {CODE}/{name}" for name in SERVED_LINKS]
    settings = {name: shlex.quote(value) for name, value in check_variables(webui).items()}
    trial = tried(WEBUI, manager, {"HOME": "/tmp", **settings}, str(CODE))
    check = bounded(f"{trial} {env}/bin/python launch.py --skip-torch-cuda-test --exit")
    required = [f"extensions/{name}/requirements.txt" for name in extensions.names(release)]
    # Their own installers never run, so the packages they require must be in the environment. This is asked before what
    # is kept is linked beside their files: the WebUI can write there, and a FIFO of that name would never be read.
    met = [f"{as_user(WEBUI)} {shlex.join(['env/bin/python', '-B', '-c', CHECK_REQUIREMENTS, *required])}"]
    return [*links, f"ln -sfn {env} env", *(met if required else []), *extensions.kept_shown(release, paths), check]
