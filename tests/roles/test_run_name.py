"""What the plan calls a switch: one release may run in several ways, and its name alone does not tell them apart."""

from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from roles.facts.seen import Entry, HostSurvey
from roles.managers import SYSTEMD, Supervisor
from roles.operations.application import Application, Environment
from roles.operations.release import run_name
from roles.paths import Paths
from roles.service import Service

PATHS = Paths()
UNIT = PurePosixPath("/etc/systemd/system/sdfleet-webui.service")
OLD = "[Service]\nExecStart=/usr/bin/python3 launch.py --medvram --release a --fingerprint 1\n"
NEW = "[Service]\nExecStart=/usr/bin/python3 launch.py --xformers --release a --fingerprint 2\n"


def app(text: str) -> Application:
    """The WebUI at v1.10.1, with a unit of this text."""
    environment = Environment("torch==1\n", "3.11")
    return Application("webui", "v1.10.1", "", environment, 2, SYSTEMD, unit=UNIT, unit_text=text)


def host(release: str, text: str) -> HostSurvey:
    """A host that runs `release` under a unit of this text."""
    link = Entry("l", "root", "root", 0o777, f"releases/{release}")
    return HostSurvey(entries={str(PATHS.current("webui")): link}, texts={str(UNIT): text})


def test_the_same_release_with_other_flags_says_which() -> None:
    named = run_name(app(NEW), PATHS, host("v1.10.1", OLD))
    assert named == "Run release v1.10.1 without --medvram, with --xformers"


def test_changes_of_a_service_below_supervisord_are_told_the_same_way() -> None:
    manager = Supervisor(PATHS)
    words = ("/usr/bin/python3", "/opt/launch.py", "--port", "1", "--release", "a")
    old = Service(UNIT.name, "webui", "", (*words, "--medvram"), user="sdwebui", marks={"program": "1"})
    new = replace(old, program=(*words, "--xformers"), marks={"program": "2"}, stop_seconds=5)
    named = run_name(app(manager.text(new)), PATHS, host("v1.10.1", manager.text(old)))
    assert named == (
        "Run release v1.10.1 without --medvram, without stop_seconds=90, with --xformers, with stop_seconds=5"
    )


def test_options_are_not_told_by_the_name_of_their_file() -> None:
    old = OLD.replace("--release", "--options /srv/sdfleet/apps/webui/options-ca3d163bab05.json --release")
    new = OLD.replace("--release", "--options /srv/sdfleet/apps/webui/options-b7f128b2cc28.json --release")
    assert run_name(app(new), PATHS, host("v1.10.1", old)) == "Run release v1.10.1 with other options"


def test_many_changes_are_not_listed() -> None:
    many = NEW + "".join(f"LimitNOFILE={number}\n" for number in range(20))
    assert run_name(app(many), PATHS, host("v1.10.1", OLD)) == "Run release v1.10.1 with other settings"


@pytest.mark.parametrize(
    "seen",
    [HostSurvey(), host("v1.10.0", OLD), host("v1.10.1", NEW)],
    ids=["nothing runs", "another release runs", "it runs as wanted"],
)
def test_else_the_release_alone_tells_it(seen: HostSurvey) -> None:
    assert run_name(app(NEW), PATHS, seen) == "Run release v1.10.1"
