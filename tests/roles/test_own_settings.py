"""/etc/sdfleet where the root file system may be wiped at a stop."""

from pathlib import PurePosixPath

import pytest

from roles.facts.seen import Entry, HostSurvey
from roles.managers import SYSTEMD, Supervisor
from roles.operations.own_settings import own_settings
from roles.paths import ETC, Paths
from tests.roles.declared import declared

MANAGER = Supervisor(Paths(root=PurePosixPath("/workspace/sdfleet")))
KEPT = "/workspace/sdfleet/etc"
FOLDER = Entry("d", "root", "root", 0o700)
LINK = f"ln -sfn {KEPT} /etc/sdfleet"


@pytest.mark.parametrize(
    ("entries", "commands"),
    [
        ({}, [LINK]),
        ({str(ETC): FOLDER}, [f"cp -a /etc/sdfleet/. {KEPT}/ && rm -r /etc/sdfleet", LINK]),
        ({str(ETC): Entry("l", "root", "root", 0o777, "/old/etc"), KEPT: FOLDER}, [LINK]),
        ({str(ETC): Entry("l", "root", "root", 0o777, KEPT), KEPT: FOLDER}, []),
    ],
)
def test_it_is_a_link_to_the_data_disk(entries: dict[str, Entry], commands: list[str]) -> None:
    found = declared(lambda: own_settings(MANAGER, HostSurvey(entries)))
    assert found.get("Keep /etc/sdfleet on the data disk", []) == commands


def test_with_systemd_it_is_a_folder() -> None:
    assert list(declared(lambda: own_settings(SYSTEMD, HostSurvey()))) == ["Make /etc/sdfleet"]
    assert declared(lambda: own_settings(SYSTEMD, HostSurvey({str(ETC): FOLDER}))) == {"Make /etc/sdfleet": []}
