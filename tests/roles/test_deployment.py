"""How an application comes to a host: bare, as wanted, and damaged."""

import subprocess
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from roles.facts.seen import Entry, HostSurvey, Tree, Unit
from roles.facts.survey import Survey
from roles.managers import SYSTEMD
from roles.operations.application import CODE, Application, Environment
from roles.operations.deployment import all_folders, deploy, look, prune
from roles.operations.release import MANIFEST
from roles.operations.sources import Source
from roles.paths import UNITS, Folder, Paths
from tests.roles.declared import declared

PATHS = Paths()
SERVICE = UNITS / "thing.service"
THING = Application(
    "thing",
    "v1-abc",
    '{"id": "v1-abc"}\n',
    Environment("torch==1 --hash=sha256:00\n", "3.11"),
    keep=2,
    manager=SYSTEMD,
    trees={CODE: Source("https://host.example/o/n.git", "a" * 40)},
    files={PurePosixPath("bin/start"): "#!/bin/sh\n"},
    finish=["chmod 755 bin/start", "bin/start --check"],
    folders=[Folder(PATHS.data("thing"), "sdthing", "sdthing")],
    texts={PATHS.app("thing") / "options.json": "{}\n"},
    unit=SERVICE,
    unit_text="[Service]\n",
)
TOOL = replace(THING, unit=None, unit_text="")
STEPS = [
    f"Build the environment {THING.environment.key}",
    "Build release v1-abc",
    "Write options.json",
    "Run release v1-abc",
    "Remove old releases",
]


def _installed(app: Application) -> HostSurvey:
    """What is seen of a host on which all of it is as wanted."""
    place, text = app.place(PATHS), app.unit_text.replace("\n", "\\n")
    served = f'{{"trying": null, "served": [{{"release": "{app.release}", "text": "{text}"}}]}}'
    entries = {
        str(folder.path): Entry("d", folder.owner, folder.group, folder.mode) for folder in all_folders(app, PATHS)
    }
    entries[str(PATHS.current(app.name))] = Entry("l", "root", "root", 0o777, f"releases/{app.release}")
    entries[str(app.environment.folder(PATHS))] = Entry("d", "root", "root", 0o755)
    texts = {**app.texts, SERVICE: app.unit_text}
    entries |= {str(file): Entry("f", "root", "root", 0o644) for file in texts}
    texts |= {place / MANIFEST: app.manifest, PATHS.history(app.name): served}
    return HostSurvey(
        entries,
        {str(file): text for file, text in texts.items()},
        units={SERVICE.name: Unit(loaded=True, enabled=True, active=True, stale=False)},
        trees={str(place / CODE): Tree("a" * 40, dirty=False)},
        names={str(PATHS.releases(app.name)): [app.release]},
    )


def _steps(app: Application, seen: HostSurvey, as_wanted: bool = True) -> dict[str, list[str]]:
    def declare() -> None:
        found = look(app, PATHS)
        deploy(app, PATHS, found, as_wanted)
        prune(app, PATHS, found)

    return declared(declare, {Survey: seen})


def _changed(app: Application, seen: HostSurvey, as_wanted: bool = True) -> list[str]:
    return [name for name, commands in _steps(app, seen, as_wanted).items() if commands]


@pytest.mark.parametrize("app", [THING, TOOL])
def test_a_host_that_is_as_wanted_is_left_alone(app: Application) -> None:
    assert list(_steps(app, _installed(app))) == STEPS
    assert _changed(app, _installed(app)) == []


@pytest.mark.parametrize("app", [THING, TOOL])
def test_on_a_bare_host_it_is_built_checked_named_and_only_then_run(app: Application) -> None:
    found = _steps(app, HostSurvey())
    assert _changed(app, HostSurvey()) == STEPS[:-1]
    building = [command.replace("/srv/sdfleet/apps/thing/releases/", "") for command in found[STEPS[1]]]
    assert building[0] == "umask 022; rm -rf .v1-abc.building && mkdir -p .v1-abc.building .v1-abc.building/bin"
    order = (
        "pinned_checkout",
        "bin/start.sdfleet-new",
        "bin/start --check",
        "manifest.json",
        "mv -T .v1-abc.building v1-abc",
    )
    at = [next(i for i, command in enumerate(building) if word in command) for word in order]
    assert at == sorted(at) and at[-1] == len(building) - 1
    assert f"switch --release {app.release}" in found[STEPS[3]][-1]
    assert ("--unit" in found[STEPS[3]][-1]) == (app.unit is not None)


def test_what_is_damaged_is_built_again_and_run_again() -> None:
    seen = _installed(THING)
    seen.broken.add(str(THING.environment.folder(PATHS)))
    assert _changed(THING, seen) == [STEPS[0], STEPS[3]]
    seen = _installed(THING)
    seen.trees[str(THING.place(PATHS) / CODE)] = Tree("a" * 40, dirty=True)
    assert _changed(THING, seen) == [STEPS[1], STEPS[3]]
    assert _changed(THING, _installed(THING), as_wanted=False) == [STEPS[3]]


def test_nothing_is_taken_from_a_program_that_nobody_restarts(tmp_path: Path) -> None:
    """A training that runs in a damaged environment would lose it."""
    seen = _installed(TOOL)
    folder = TOOL.environment.folder(PATHS)
    seen.broken.add(str(folder))
    [guard, *rest] = _changed(TOOL, seen)
    assert guard == "Check that no service uses the damaged files" and rest == [STEPS[0], STEPS[3]]
    [command] = _steps(TOOL, seen)[guard]
    assert subprocess.run(["sh", "-c", command]).returncode == 0
    program = tmp_path / "bin/wait"
    program.parent.mkdir()
    program.symlink_to("/bin/sleep")
    command = command.replace(str(folder), str(tmp_path))
    with subprocess.Popen([program, "60"]) as running:
        refused = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
        running.kill()
    assert refused.returncode == 1 and "apply again when it has ended" in refused.stderr
    assert subprocess.run(["sh", "-c", command]).returncode == 0


def test_what_serves_without_being_written_down_is_written_down() -> None:
    for app in (THING, TOOL):
        seen = _installed(app)
        del seen.texts[str(PATHS.history("thing"))]
        [command] = _steps(app, seen)[STEPS[3]]
        assert " note " in command and "switch" not in command


def test_old_releases_go_last() -> None:
    seen = _installed(THING)
    seen.names[str(PATHS.releases("thing"))] = ["v1-abc", "v0-1", "v0-2", ".v9.building"]
    assert _changed(THING, seen) == [STEPS[4]]
