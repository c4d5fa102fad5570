"""The settings of a rented host, and what apply makes of them."""

from pathlib import Path

import pytest

from inventory.load import load
from inventory.model import HostSettings
from roles.facts.provider import Provider, told
from roles.facts.seen import Entry, HostSurvey, Unit
from roles.facts.survey import Survey
from roles.managers import SYSTEMD, Supervisor
from roles.onhost.provider import STOP, stop_command
from roles.rental.config import Rental
from roles.rental.service import UNIT, unit_text
from roles.rental.tasks import install
from roles.settings import SettingError, seconds_of
from tests.inventory.refused import host_with, problems
from tests.roles.declared import declared


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("idle_stop = 30", "hosts.a.rental.idle_stop: input should be a valid string (is 30)"),
        ('idle_stop = "half an hour"', "is no time: write a number and its unit (s, m, h, d), e.g. 30m"),
        ('idle_stop = "30s"', "hosts.a.rental.idle_stop: '30s' must be from 1m to 7d"),
        ('idle_stop = "30m"\nrental.stop_command = ""', 'idle_stop needs a stop_command, which is ""'),
        ('idle_stop = "30m"\nrental.keeps_data = false', "would lose the data, as keeps_data is false"),
        ('stop_command = "vastai --api-key $KEY stop"', "'api-key' in it: a key in a command line can be read by"),
        ("stop_command = 'curl -H \"Authorization: Bearer x\" https://a'", "has 'Authorization' in it: a key in a"),
        ('idle_stop = "30m"\nrental.stop_command = " "', 'idle_stop needs a stop_command, which is ""'),
        ('idle_stop = "30m"\nrental.stop_command = " --now"', "'--now' is no command: it begins with an option"),
        ('stop_command = "a\\nb"', "has a line break"),
        ("released_days = 0", "hosts.a.rental.released_days"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, line: str, says: str) -> None:
    assert says in problems(tmp_path, host_with(f"rental.{line}"))


def host(tmp_path: Path, line: str) -> HostSettings:
    (tmp_path / "fleet.toml").write_text(host_with(line))
    return load(tmp_path / "fleet.toml").hosts["a"]


def test_a_host_never_stops_itself_unless_told_so(tmp_path: Path) -> None:
    assert host(tmp_path, "").rental.idle_stop is None
    assert seconds_of(host(tmp_path, 'rental.idle_stop = "2h"').rental.idle_stop or "") == 7200


def test_a_cache_that_stops_when_idle_is_noted(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text(host_with('groups = ["cache"]\nrental.idle_stop = "30m"'))
    [note] = load(tmp_path / "fleet.toml").notes
    assert note.startswith("hosts.a.rental.idle_stop: what other hosts download from its cache does not count as use")


def test_the_command_is_the_providers_unless_another_is_set() -> None:
    auto, own = Rental().stop_command, Rental(stop_command="poweroff").stop_command
    assert [stop_command(auto, name) for name in STOP] == [
        "shutdown",
        "runpodctl stop pod $RUNPOD_POD_ID",
        "vastai stop instance $CONTAINER_ID",
    ]
    assert (stop_command(auto, ""), stop_command(own, "AutoDL"), stop_command(own, "")) == ("", "poweroff", "poweroff")


def test_a_provider_is_known_by_names_alone() -> None:
    assert told(["variable PATH", "variable RUNPOD_POD_ID"]) == "RunPod"
    assert told(["variable PATH", "file /etc/autodl-motd"]) == "AutoDL"
    assert told(["variable PATH"]) == ""


def _declared(settings: HostSettings, seen: HostSurvey, provider: str) -> dict[str, list[str]]:
    facts = {Survey: seen, Provider: provider}
    return declared(lambda: install(settings.rental, settings.paths, {"webui": 7860}, SYSTEMD), facts)  # type: ignore[call-arg, arg-type]


def test_apply_starts_the_service_and_takes_it_away_again(tmp_path: Path) -> None:
    on, off = host(tmp_path, 'rental.idle_stop = "30m"'), host(tmp_path, "")
    first = _declared(on, HostSurvey(), "AutoDL")
    assert [bool(commands) for commands in first.values()] == [True, True], first
    text = unit_text(on.rental, on.paths, {"webui": 7860}, "AutoDL", SYSTEMD)
    runs = Unit(loaded=True, enabled=True, active=True, stale=False)
    has = HostSurvey(
        texts={str(UNIT): text}, units={UNIT.name: runs}, entries={str(UNIT): Entry("f", "root", "root", 0o644)}
    )
    assert [commands for commands in _declared(on, has, "AutoDL").values() if commands] == []
    assert _declared(off, HostSurvey(), "AutoDL") == {}
    (removal,) = _declared(off, has, "AutoDL").values()
    assert f"rm -f {UNIT}" in removal


def test_without_a_known_command_apply_refuses(tmp_path: Path) -> None:
    settings = host(tmp_path, 'rental.idle_stop = "30m"')
    with pytest.raises(SettingError, match=r"rental.stop_command: no provider is recognised"):
        _declared(settings, HostSurvey(), "")


def test_a_variable_of_the_provider_reaches_the_shell_as_it_is_written(tmp_path: Path) -> None:
    settings = host(tmp_path, 'rental.idle_stop = "30m"')
    assert "$$RUNPOD_POD_ID" in unit_text(settings.rental, settings.paths, {}, "RunPod", SYSTEMD)
    told = unit_text(settings.rental, settings.paths, {}, "RunPod", Supervisor(settings.paths))
    assert '"--command=runpodctl stop pod $RUNPOD_POD_ID"' in told
