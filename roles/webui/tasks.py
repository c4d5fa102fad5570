"""Operations of the WebUI role."""

import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import DeployError
from pyinfra.api.operation import operation
from pyinfra.context import host

from roles.accounts import WEBUI
from roles.facts.seen import HostSurvey
from roles.facts.survey import Survey
from roles.onhost import source
from roles.operations.application import CODE, Release, ReleaseError
from roles.operations.environment import environment
from roles.operations.files import Commands, Folder, folders, rendered, write
from roles.operations.locks import CPU
from roles.operations.release import MANIFEST, build_release, prune_releases, recorded, serves, switch
from roles.operations.sources import Source, checkout_command, intact
from roles.paths import UNITS, Paths
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
from packaging.requirements import InvalidRequirement, Requirement
lacking = []
for file in filter(pathlib.Path.exists, map(pathlib.Path, sys.argv[1:])):
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

SHOW = "show_folder"
"""The program of roles.onhost that links a folder of root's into the WebUI's."""

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
    trees_home, aside = paths.app("webui") / "extensions", paths.app("webui") / "aside"
    own = [Folder(paths.app("webui")), Folder(paths.releases("webui")), Folder(trees_home), Folder(aside)]
    own += [Folder(data / "extensions")]
    own += [Folder(data / name, owner=WEBUI, group=WEBUI) for name in (*SERVED_LINKS, "cache")]
    programs = {paths.programs / f"{name}.py": source(name) for name in PROGRAMS}
    extensions = {paths.extension(e.name, e.commit): Source(e.url, e.commit) for e in webui.extensions}
    shown = {data / "extensions" / e.name: paths.extension(e.name, e.commit) for e in webui.extensions}
    trees = {release.folder(paths) / place: tree for place, tree in release.trees.items()}
    seen = host.get_fact(
        Survey,
        paths=[*(folder.path for folder in own), *shown, release.environment.folder(paths), paths.current("webui")],
        texts=[
            *programs,
            options,
            UNITS / UNIT,
            release.folder(paths) / MANIFEST,
            paths.history("webui"),
        ],
        written_by={config_file(paths): WEBUI, STATE: WEBUI},
        units=[UNIT],
        trees=[*trees, *extensions],
        folders=[paths.releases("webui")],
        whole=[release.environment.folder(paths)],
    )
    folders(name="Make folders", wanted=own, seen=seen)
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
    work_trees(name="Check out extensions", trees=extensions, paths=paths, seen=seen)
    extensions_shown(name="Show extensions to the WebUI", shown=shown, aside=aside, seen=seen)
    requirements_met(
        name="Check that the lock holds what extensions need",
        trees=list(extensions),
        python=release.environment.folder(paths) / "bin/python",
        already=sound and intact(extensions, seen),
    )
    programs_put(name="Put the programs that run the WebUI", programs=programs, seen=seen)
    rendered(name="Write the WebUI's options", dest=options, text=options_text(webui), seen=seen)
    text = unit_text(webui, paths, release, "cpu" if build == CPU else "cuda")
    serve(
        name=f"Run release {release.id}",
        release=release,
        text=text,
        paths=paths,
        running=whole
        and sound
        and intact(extensions, seen)
        and leads(shown, seen)
        and runs(release, text, paths, seen)
        and options_hold(webui.options, seen.text(config_file(paths))),
        known=recorded(paths.app("webui"), release.id, text, seen),
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
    return [*links, f"ln -sfn {env} env", check]


@operation()
def requirements_met(trees: Sequence[PurePosixPath], python: PurePosixPath, already: bool) -> Commands:
    """
    See that what extensions ask for is in the environment: their own installers never run.

    + trees: the extensions' work trees
    + python: the environment's Python
    + already: whether neither changed since this was seen
    """
    if already or not trees:
        host.noop("nothing changed")
        return
    words = [str(python), "-c", CHECK_REQUIREMENTS, *(str(tree / "requirements.txt") for tree in trees)]
    yield shlex.join(words)


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
def work_trees(trees: Mapping[PurePosixPath, Source], paths: Paths, seen: HostSurvey) -> Commands:
    """
    Check out git repositories at their commits.

    + trees: work tree -> source
    + seen: a survey that looked at the trees
    """
    wrong = {tree: wanted for tree, wanted in trees.items() if not intact({tree: wanted}, seen)}
    if not wrong:
        host.noop("all are at their commits")
    for tree, wanted in wrong.items():
        yield checkout_command(wanted, tree, paths)


def leads(shown: Mapping[PurePosixPath, PurePosixPath], seen: HostSurvey) -> bool:
    """Whether each name is a link to its folder."""
    found = {name: seen.entry(name) for name in shown}
    return all(entry is not None and entry.target == str(shown[name]) for name, entry in found.items())


@operation()
def extensions_shown(shown: Mapping[PurePosixPath, PurePosixPath], aside: PurePosixPath, seen: HostSurvey) -> Commands:
    """
    Link extensions, whose work trees only root may write, into the folder where the WebUI looks for them.

    + shown: link -> work tree
    + aside: folder that takes what stands in a link's place
    + seen: a survey that looked at the links
    """
    wrong = {link: tree for link, tree in shown.items() if not leads({link: tree}, seen)}
    if not wrong:
        host.noop("all are shown")
    for link, tree in wrong.items():
        words = shlex.join(map(str, (link, tree, aside)))
        yield StringCommand("python3 -I -", words, _stdin=[source(SHOW)])


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
