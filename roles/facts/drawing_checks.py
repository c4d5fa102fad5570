"""Checks that the roles with services that draw share."""

import shlex
from collections.abc import Iterable
from typing import Any, Protocol

import pytest
from testinfra.host import Host

from roles import egress
from roles.drawing import service_state, state_file
from roles.facts.confinement import check_unwritable
from roles.facts.seen import as_user
from roles.facts.survey import GIT, SMALL, own_repository
from roles.managers import SYSTEMD, Manager
from roles.operations.application import CODE, Release
from roles.paths import Paths

PICTURE_SECONDS = 300


class Model(Protocol):
    """What these checks need to know of a model."""

    @property
    def kind(self) -> str:
        """What it is, e.g. checkpoint."""

    @property
    def name(self) -> str:
        """Its file's name without suffix, as the page shows it."""


def running(host: Host, unit: str, user: str) -> dict[str, Any]:
    """The running service's state; a failed check if it is not ready (a request would break a WebUI's start)."""
    # As its user and with a time limit: the service writes this file.
    read = host.run(f"timeout 10 {as_user(user)} head -c %s %s", str(SMALL), state_file(unit))
    state = service_state(read.stdout)
    assert read.rc == 0 and state, f"{unit} does not run"
    assert state["ready"], f"{unit} is not ready: {state['problem']}"
    return state


def check_release_runs(host: Host, paths: Paths, release: Release, unit: str, user: str) -> None:
    """AssertionError unless the process is of the release that is in use."""
    current = host.check_output("readlink -f %s", str(paths.current(release.app)))
    assert current == str(release.folder(paths)), f"{paths.current(release.app)} leads to {current}"
    runs = running(host, unit, user)["release"]
    assert runs == release.id, f"release {runs} still runs"


def check_trees(host: Host, paths: Paths, release: Release) -> None:
    """AssertionError unless all code is at its commit, and unchanged."""
    trees = {release.folder(paths) / place: tree.commit for place, tree in release.trees.items()}
    for tree, commit in trees.items():
        git = f"{GIT} -C {shlex.quote(str(tree))}"
        look = f"{own_repository(tree)} && cat {shlex.quote(str(tree))}/.git/HEAD"
        seen = host.run(f"{look} && {git} status --porcelain --untracked-files=no")
        assert seen.rc == 0, f"{tree} is missing, or is no git work tree of root's"
        head, *changes = seen.stdout.splitlines()
        assert head == commit, f"{tree} is at {head[:12]}, not at {commit[:12]}"
        assert not changes, f"{tree} was changed by hand: {changes[0].strip()}"


def check_egress(host: Host, unit: str, networks: tuple[str, ...], manager: Manager) -> None:
    """AssertionError if a service may reach more than these networks."""
    if manager != SYSTEMD:
        pytest.skip("without systemd it may reach every network: `egress` limits nothing here")
    denied = host.check_output("systemctl show --property=IPAddressDeny --value %s", unit).split()
    closed = egress.closed(networks)
    assert closed <= set(denied), f"{unit} may reach {', '.join(sorted(closed - set(denied)))}"


def check_user(host: Host, script: str, user: str, name: str) -> None:
    """AssertionError unless the processes of a script belong to the service's user."""
    lines = host.check_output("ps -eo user:32=,args=").splitlines()
    users = {line.split()[0] for line in lines if f" {script} " in line}
    assert users, f"no process of {name} runs"
    assert users == {user}, f"{name} runs as {', '.join(sorted(users))}"


def check_code_is_closed(host: Host, paths: Paths, release: Release, user: str) -> None:
    """AssertionError if a service can write its code, its environment or sdfleet's programs."""
    check_unwritable(host, user, (release.folder(paths) / CODE, release.environment.folder(paths), paths.onhost))


def check_has_drawn(host: Host, unit: str, user: str, name: str, models: Iterable[Model]) -> None:
    """AssertionError unless a service has drawn since it started; skipped if the fleet gives it no checkpoint."""
    state = running(host, unit, user)
    if state["picture"] is None and not any(model.kind == "checkpoint" for model in models):
        pytest.skip("the fleet has no checkpoint for this host")
    assert state["picture"], f"{name} has generated no picture since it started: {state['problem']}"


def check_draws(host: Host, paths: Paths, release: Release, program: str, port: int, user: str) -> None:
    """AssertionError unless a service draws a small picture.

    + program: the one of roles.onhost that asks for it
    """
    python = str(paths.current(release.app) / "env/bin/python")
    words = (python, str(paths.onhost), program, str(port), str(PICTURE_SECONDS))
    answer = host.run(f"{as_user(user)} %s -I %s %s --port=%s --timeout=%s", *words)
    assert answer.rc == 0, answer.stderr.strip()
