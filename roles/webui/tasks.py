"""Operations of the WebUI role."""

import logging
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath

from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import DeployError
from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.accounts import WEBUI
from roles.facts.seen import HostSurvey, as_user
from roles.facts.survey import Survey
from roles.onhost import source
from roles.operations.application import CODE, Release, ReleaseError
from roles.operations.environment import environment
from roles.operations.files import Commands, Folder, folders, rendered, write
from roles.operations.locks import CPU
from roles.operations.release import MANIFEST, build_release, prune_releases, recorded, run_name, serves, switch
from roles.operations.sources import intact
from roles.paths import UNITS, Paths
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


@deploy("WebUI")
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
    data, options = paths.data("webui"), options_file(webui, paths)
    own = [Folder(paths.app("webui")), Folder(paths.releases("webui")), Folder(extensions.shown(paths))]
    own += [Folder(data / name, owner=WEBUI, group=WEBUI) for name in (*SERVED_LINKS, "cache")]
    programs = {paths.programs / f"{name}.py": source(name) for name in PROGRAMS}
    keeper = paths.programs / f"{extensions.PROGRAM}.py"
    own += [Folder(place) for place in extensions.mounts(release, paths).values()]
    trees = {release.folder(paths) / place: tree for place, tree in release.trees.items()}
    seen = host.get_fact(
        Survey,
        paths=[*(folder.path for folder in own), release.environment.folder(paths), paths.current("webui")],
        texts=[
            *programs,
            keeper,
            options,
            UNITS / UNIT,
            release.folder(paths) / MANIFEST,
            paths.history("webui"),
        ],
        written_by={config_file(paths): WEBUI, STATE: WEBUI},
        units=[UNIT],
        trees=list(trees),
        folders=[paths.releases("webui"), extensions.shown(paths)],
        whole=[release.environment.folder(paths)],
    )
    releases = [name for name in seen.names.get(str(paths.releases("webui")), []) if not name.startswith(".")]
    found = takeover.find(seen.names.get(str(extensions.shown(paths)), []), releases, paths)
    folders(name="Make folders", wanted=own, seen=seen)
    rendered(
        name="Put the program that keeps what extensions have", dest=keeper, text=source(extensions.PROGRAM), seen=seen
    )
    takeover.take_over(
        name="Take over extensions of before", found=found, wanted=extensions.names(release), paths=paths
    )
    environment(
        name=f"Build the environment {release.environment.key}", wanted=release.environment, paths=paths, seen=seen
    )
    sound = seen.whole(release.environment.folder(paths))
    whole = seen.text(release.folder(paths) / MANIFEST) == release.manifest() and intact(trees, seen)
    build_release(
        name=f"Build release {release.id}",
        folder=release.folder(paths),
        trees=release.trees,
        manifest=release.manifest(),
        finish=finishing(webui, paths, release),
        whole=whole,
        paths=paths,
    )
    programs_put(name="Put the programs that run the WebUI", programs=programs, seen=seen)
    rendered(name="Write the WebUI's options", dest=options, text=options_text(webui), seen=seen)
    text = unit_text(webui, paths, release, "cpu" if build == CPU else "cuda")
    serve(
        name=run_name(paths.app("webui"), release.id, UNITS / UNIT, text, seen),
        release=release,
        text=text,
        paths=paths,
        running=whole
        and sound
        and runs(release, text, paths, seen)
        and options_hold(webui.options, seen.text(config_file(paths))),
        known=recorded(paths.app("webui"), release.id, text, seen),
    )
    takeover.places_removed(
        name="Remove places of extensions", found=found, wanted=extensions.names(release), paths=paths
    )
    prune_releases(
        name="Remove old releases", app="webui", keep=webui.keep_releases, current=release.id, paths=paths, seen=seen
    )


def refresh(webui: Webui) -> StringCommand:
    """The command that shows a running WebUI the models that came or went: no restart is needed for that."""
    words = shlex.join(["--port", str(webui.port), "--state", STATE])
    return StringCommand("python3 -I -", words, _stdin=[source(REFRESH)])


def runs(release: Release, text: str, paths: Paths, seen: HostSurvey) -> bool:
    """Whether the service that runs is the one wanted, and is what would come back after a reboot."""
    state = told(seen.text(STATE))
    as_wanted = serves(paths.app("webui"), release.id, UNITS / UNIT, text, seen)
    return as_wanted and state.get("fingerprint") == fingerprint(text)


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


@operation()
def programs_put(programs: Mapping[PurePosixPath, str], seen: HostSurvey) -> Commands:
    """
    Write the programs that run the WebUI.

    + programs: file -> text
    + seen: a survey that has them among its texts
    """
    for dest, text in programs.items():
        yield from write(dest, text, seen, mode=0o755)


@operation()
def serve(release: Release, text: str, paths: Paths, running: bool, known: bool) -> Commands:
    """
    Switch to a release and its unit, wait until it has drawn a picture, or go back to what ran before.

    + text: the unit file
    + running: whether all of it is so already
    + known: whether the host's history says so too
    """
    yield from switch._inner(paths.app("webui"), release.id, UNITS / UNIT, text, paths, running, known)
    if running:
        return
    state = told(host.get_fact(Survey, written_by={STATE: WEBUI}).text(STATE))
    if problem := state.get("problem"):
        host.log(f"{UNIT} runs, but has drawn nothing: {problem}", logging.getLogger("pyinfra").warning)
