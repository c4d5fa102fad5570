"""Operations of the WebUI role."""

import logging
import shlex
from pathlib import PurePosixPath

from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy as pyinfra_deploy
from pyinfra.api.exceptions import DeployError
from pyinfra.context import host

from roles.accounts import WEBUI
from roles.facts.seen import HostSurvey, as_user
from roles.facts.survey import Survey
from roles.onhost import source
from roles.operations.application import CODE, Application, Release, ReleaseError
from roles.operations.deployment import all_folders, deploy, look, prune
from roles.operations.files import folders, programs
from roles.operations.locks import CPU
from roles.paths import UNITS, Folder, Paths
from roles.webui import extensions, takeover
from roles.webui.config import Webui
from roles.webui.release import check_variables, release_of
from roles.webui.service import (
    PROGRAMS,
    STATE,
    UNIT,
    config_file,
    fingerprint,
    options_file,
    options_hold,
    options_text,
    told,
    unit_text,
)

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
"""Program for the environment's Python: exits 1 if requirements.txt files ask for what is not there."""

REFRESH = "webui_refresh"
"""The program of roles.onhost that tells a WebUI of new models."""

SERVED_LINKS = ("config_states", "tmp")
"""Folders that the WebUI writes beside its code; links lead them into the data folder."""


@pyinfra_deploy("WebUI")
def install(webui: Webui, paths: Paths, build: str) -> None:
    """
    Build the WebUI's release beside the running one, switch to it, and go back if it does not draw.

    + webui: the role's settings
    + paths: the host's paths
    + build: torch's build for this host (cpu, cu121, ...)
    """
    try:
        release = release_of(webui, build)
    except ReleaseError as error:
        raise DeployError(str(error)) from error
    app = application(webui, paths, release, unit_text(webui, paths, release, "cpu" if build == CPU else "cuda"))
    keeper = paths.programs / f"{extensions.PROGRAM}.py"
    written_by = {config_file(paths): WEBUI, PurePosixPath(STATE): WEBUI}
    seen = look(app, paths, texts=[keeper], folders=[extensions.shown(paths)], written_by=written_by)
    releases = [name for name in seen.names.get(str(paths.releases("webui")), []) if not name.startswith(".")]
    found = takeover.find(seen.names.get(str(extensions.shown(paths)), []), releases, paths)
    folders(name="Make folders", wanted=all_folders(app, paths), seen=seen)
    keeps = {keeper: source(extensions.PROGRAM)}
    programs(name="Put the program that keeps what extensions have", texts=keeps, seen=seen)
    takeover.take_over(found, extensions.names(release), paths)
    deploy(app, paths, seen, as_wanted=as_told(webui, app, paths, seen))
    takeover.remove_places(found, extensions.names(release), paths)
    prune(app, paths, seen)


def application(webui: Webui, paths: Paths, release: Release, text: str) -> Application:
    """The WebUI, served by its unit, whose text this is."""
    data = paths.data("webui")
    own = [Folder(extensions.shown(paths))]
    own += [Folder(data / name, owner=WEBUI, group=WEBUI) for name in (*SERVED_LINKS, "cache")]
    own += [Folder(place) for place in extensions.mounts(release, paths).values()]
    return Application(
        "webui",
        release.id,
        release.manifest(),
        release.environment,
        webui.keep_releases,
        trees=release.trees,
        finish=finishing(webui, paths, release),
        folders=own,
        programs={paths.programs / f"{name}.py": source(name) for name in PROGRAMS},
        texts={options_file(webui, paths): options_text(webui)},
        unit=UNITS / UNIT,
        unit_text=text,
        report=report,
    )


def as_told(webui: Webui, app: Application, paths: Paths, seen: HostSurvey) -> bool:
    """Whether the service that runs says that it is the one wanted, with the options wanted."""
    same = told(seen.text(STATE)).get("fingerprint") == fingerprint(app.unit_text)
    return same and options_hold(webui.options, seen.text(config_file(paths)))


def report() -> None:
    """Warn if a WebUI serves that has drawn nothing."""
    state = told(host.get_fact(Survey, written_by={STATE: WEBUI}).text(STATE))
    if problem := state.get("problem"):
        host.log(f"{UNIT} runs, but has drawn nothing: {problem}", logging.getLogger("pyinfra").warning)


def refresh(webui: Webui) -> StringCommand:
    """The command that shows a running WebUI the models that came or went: no restart is needed for that."""
    words = shlex.join(["--port", str(webui.port), "--state", STATE])
    return StringCommand("python3 -I -", words, _stdin=[source(REFRESH)])


def finishing(webui: Webui, paths: Paths, release: Release) -> list[str]:
    """Commands that complete a release in its building folder and prove that the launcher finds nothing missing."""
    data, env = shlex.quote(str(paths.data("webui"))), shlex.quote(str(release.environment.folder(paths)))
    links = [f"ln -sfn {data}/{name} {CODE}/{name}" for name in SERVED_LINKS]
    settings = " ".join(f"--setenv={name}={shlex.quote(value)}" for name, value in check_variables(webui).items())
    confined = "-p PrivateNetwork=yes -p ProtectSystem=strict -p ProtectHome=yes -p PrivateTmp=yes"
    check = (
        f'systemd-run --quiet --wait --pipe --collect --uid={WEBUI} --working-directory="$PWD/{CODE}" {confined} '
        f"--setenv=HOME=/tmp {settings} {env}/bin/python launch.py --skip-torch-cuda-test --exit >&2"
    )
    required = [f"extensions/{name}/requirements.txt" for name in extensions.names(release)]
    # Their own installers never run, so what they ask for must be in the environment.
    met = [f"{as_user(WEBUI)} {shlex.join(['env/bin/python', '-B', '-c', CHECK_REQUIREMENTS, *required])}"]
    return [*links, f"ln -sfn {env} env", *extensions.kept_shown(release, paths), *(met if required else []), check]
