"""Units: written, read by systemd when they change, and running with what is in their files."""

from pathlib import PurePosixPath

from roles.facts.seen import Entry, HostSurvey, Unit
from roles.lora_scripts.config import LoraScripts
from roles.lora_scripts.release import release_of
from roles.lora_scripts.service import GUI, unit_texts
from roles.managers import SYSTEMD
from roles.operations.units import run_unit, write_units
from roles.paths import Paths
from tests.roles.declared import declared

UNIT = PurePosixPath("/etc/systemd/system/thing.service")
ON = Unit(loaded=True, enabled=True, active=True, stale=False)


def _seen(text: str = "new", unit: Unit = ON) -> HostSurvey:
    return HostSurvey({str(UNIT): Entry("f", "root", "root", 0o644)}, {str(UNIT): text}, units={UNIT.name: unit})


def test_lora_scripts_counts_gpus_as_nvidia_smi_does() -> None:
    settings, paths = LoraScripts(), Paths()
    texts = unit_texts(settings, paths, release_of(settings, "cu128"), "cuda", SYSTEMD)
    assert "Environment=CUDA_DEVICE_ORDER=PCI_BUS_ID" in texts[GUI].splitlines()


def test_units_that_are_so_are_left_alone() -> None:
    assert declared(lambda: write_units({UNIT: "new"}, _seen(), SYSTEMD)) == {"Write thing.service": []}
    assert declared(lambda: run_unit("Run it", UNIT, "new", _seen(), SYSTEMD)) == {
        "Write thing.service": [],
        "Run it": [],
    }


def test_a_changed_unit_is_written_and_read() -> None:
    written = declared(lambda: write_units({UNIT: "new"}, _seen("old"), SYSTEMD))
    assert list(written) == ["Write thing.service", "Let systemd read its units"]
    assert written["Let systemd read its units"] == ["systemctl daemon-reload"]
    stale = _seen(unit=Unit(loaded=True, enabled=True, active=True, stale=True))
    assert "Let systemd read its units" in declared(lambda: write_units({UNIT: "new"}, stale, SYSTEMD))


RESTART = "systemctl daemon-reload && systemctl enable --quiet thing.service && systemctl restart thing.service"
"""One command: until it has run, the host shows that the unit is another one."""


def test_a_changed_unit_is_read_and_restarted_in_one_step() -> None:
    found = declared(lambda: run_unit("Run it", UNIT, "new", _seen("old"), SYSTEMD))
    assert found["Write thing.service"] and found["Run it"] == [RESTART]


def test_an_apply_that_was_cut_off_before_the_restart_is_finished_by_the_next() -> None:
    stale = _seen(unit=Unit(loaded=True, enabled=True, active=True, stale=True))
    found = declared(lambda: run_unit("Run it", UNIT, "new", stale, SYSTEMD))
    assert found == {"Write thing.service": [], "Run it": [RESTART]}


def test_a_unit_that_was_stopped_and_disabled_comes_back() -> None:
    off = _seen(unit=Unit(loaded=True, enabled=False, active=False, stale=False))
    started = declared(lambda: run_unit("Run it", UNIT, "new", off, SYSTEMD))
    assert started["Run it"] == ["systemctl enable --quiet --now thing.service"]
