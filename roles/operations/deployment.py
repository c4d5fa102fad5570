"""How every application comes to a host: beside the running one, checked, switched to, checked again, or back."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from pyinfra.context import host
from pyinfra.operations import server

from roles.facts.seen import HostSurvey
from roles.facts.survey import Survey
from roles.operations.application import Application
from roles.operations.environment import environment
from roles.operations.files import refuse_if_used, rendered
from roles.operations.release import MANIFEST, build_release, prune_releases, run_name, switch
from roles.operations.sources import intact
from roles.paths import Folder, Paths


def look(
    app: Application,
    paths: Paths,
    *,
    texts: Iterable[PurePosixPath] = (),
    units: Iterable[str] = (),
    folders: Iterable[PurePosixPath] = (),
    written_by: Mapping[PurePosixPath, str] | None = None,
    belonging: Mapping[PurePosixPath, str] | None = None,
) -> HostSurvey:
    """What `deploy` and `prune` have to know of the host, and what a role wants to know beside it (see `Survey`)."""
    built = app.environment.folder(paths)
    own = [app.place(paths) / MANIFEST, paths.history(app.name), *app.texts]
    shown = [*([app.unit.name] if app.unit else []), *units]
    seen: HostSurvey = host.get_fact(
        Survey,
        paths=[*(folder.path for folder in all_folders(app, paths)), built, paths.current(app.name)],
        texts=[*own, *([app.unit] if app.unit else []), *texts],
        written_by=written_by or {},
        units=app.manager.show(shown) if shown else "",
        trees=[app.place(paths) / place for place in app.trees],
        folders=[paths.releases(app.name), *folders],
        holding={paths.releases(app.name): MANIFEST},
        belonging=belonging or {},
        whole=[built],
    )
    return seen


def all_folders(app: Application, paths: Paths) -> Sequence[Folder]:
    """The folders of an application, parents first."""
    return [Folder(paths.app(app.name)), Folder(paths.releases(app.name)), *app.folders]


def deploy(app: Application, paths: Paths, seen: HostSurvey, as_wanted: bool = True) -> None:
    """
    Build an application's release beside the one in use, switch to it, and go back if it does not become ready.

    + seen: from `look`
    + as_wanted: whether the service, if it runs, is what the role wants in other respects too
    """
    build(app, paths, seen)
    for file, text in host.loop(list(app.texts.items())):
        rendered(name=f"Write {file.name}", dest=file, text=text, seen=seen)
    sound = built(app, paths, seen) and seen.whole(app.environment.folder(paths))
    switch(name=run_name(app, paths, seen), app=app, paths=paths, sound=sound and as_wanted, seen=seen)


def build(app: Application, paths: Paths, seen: HostSurvey) -> None:
    """Build an application's environment and release, and use neither.

    + seen: from `look`
    """
    damaged = [place for place, fine in _there(app, paths, seen) if not fine]
    if damaged and app.unit is None:
        # Nothing restarts what runs from there, such as a training: its files must not go.
        commands = [refuse_if_used(place) for place in damaged]
        server.shell(name="Check that no service uses the damaged files", commands=commands)
    name = f"Build the environment {app.environment.key}"
    environment(name=name, wanted=app.environment, paths=paths, seen=seen, manager=app.manager)
    build_release(name=f"Build release {app.release}", app=app, whole=built(app, paths, seen), paths=paths)


def _there(app: Application, paths: Paths, seen: HostSurvey) -> Iterator[tuple[PurePosixPath, bool]]:
    """Environment and release, if they are on the host: each with whether it is as it should be."""
    environment_folder = app.environment.folder(paths)
    if seen.entry(environment_folder):
        yield environment_folder, seen.whole(environment_folder)
    if seen.text(app.place(paths) / MANIFEST) is not None:
        yield app.place(paths), built(app, paths, seen)


def built(app: Application, paths: Paths, seen: HostSurvey) -> bool:
    """Whether the release stands there as it should be."""
    trees = {app.place(paths) / place: tree for place, tree in app.trees.items()}
    return seen.text(app.place(paths) / MANIFEST) == app.manifest and intact(trees, seen)


def prune(app: Application, paths: Paths, seen: HostSurvey) -> None:
    """Remove old releases of an application, last of all.

    + seen: from `look`
    """
    prune_releases(
        name="Remove old releases",
        home=paths.app(app.name),
        keep=app.keep,
        current=app.release,
        paths=paths,
        seen=seen,
        environments=paths.envs,
    )
