"""Units: written, read by systemd when they change, and running with what is in their files."""

from pathlib import PurePosixPath

from pyinfra.facts.systemd import SystemdEnabled, SystemdStatus

from roles.facts.seen import Entry, HostSurvey, Unit
from roles.lora_scripts.config import LoraScripts
from roles.lora_scripts.release import release_of
from roles.lora_scripts.service import GUI, unit_texts
from roles.operations.units import run_unit, write_units
from roles.paths import Paths
from tests.roles.declared import declared

UNIT = PurePosixPath("/etc/systemd/system/thing.service")
ON = Unit(loaded=True, enabled=True, active=True, stale=False)
RUNS = {SystemdStatus: {UNIT.name: True}, SystemdEnabled: {UNIT.name: True}}
OFF = {SystemdStatus: {UNIT.name: False}, SystemdEnabled: {UNIT.name: False}}


def _seen(text: str = "new", unit: Unit = ON) -> HostSurvey:
    return HostSurvey({str(UNIT): Entry("f", "root", "root", 0o644)}, {str(UNIT): text}, units={UNIT.name: unit})


def test_lora_scripts_counts_gpus_as_nvidia_smi_does() -> None:
    settings, paths = LoraScripts(), Paths()
    texts = unit_texts(settings, paths, release_of(settings, "cu128"), "cuda")
    assert "Environment=CUDA_DEVICE_ORDER=PCI_BUS_ID" in texts[GUI].splitlines()


def test_units_that_are_so_are_left_alone() -> None:
    assert declared(lambda: write_units({UNIT: "new"}, _seen())) == {"Write thing.service": []}
    assert declared(lambda: run_unit("Run it", UNIT, "new", _seen()), RUNS) == {"Run it": []}


def test_a_changed_unit_is_written_read_and_restarted() -> None:
    written = declared(lambda: write_units({UNIT: "new"}, _seen("old")))
    assert list(written) == ["Write thing.service", "Let systemd read its units"]
    assert written["Let systemd read its units"] == ["systemctl daemon-reload"]
    assert declared(lambda: run_unit("Run it", UNIT, "new", _seen("old")), RUNS) == {
        "Run it": ["systemctl restart thing.service"]
    }


def test_a_unit_that_systemd_has_not_read_again_is_read_and_restarted() -> None:
    stale = _seen(unit=Unit(loaded=True, enabled=True, active=True, stale=True))
    assert "Let systemd read its units" in declared(lambda: write_units({UNIT: "new"}, stale))
    assert declared(lambda: run_unit("Run it", UNIT, "new", stale), RUNS)["Run it"] == [
        "systemctl restart thing.service"
    ]


def test_a_unit_that_was_stopped_and_disabled_comes_back() -> None:
    started = declared(lambda: run_unit("Run it", UNIT, "new", _seen()), OFF)
    assert started == {"Run it": ["systemctl start thing.service", "systemctl enable thing.service"]}
