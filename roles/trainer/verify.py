"""What must hold on a host that trains."""

from collections.abc import Mapping

import pytest
from testinfra.host import Host

from roles.accounts import TRAINER
from roles.facts.confinement import check_unwritable
from roles.facts.gpu_probe import parse_probe, probe_command
from roles.facts.installed import check_environment
from roles.facts.unit_files import check_file, unit_state
from roles.managers import Manager
from roles.paths import Paths
from roles.trainer.config import Trainer
from roles.trainer.release import Release, trainer_release
from roles.trainer.rendering import UNIT, program, turns, unit_texts


@pytest.fixture(scope="session")
def release(trainer: Trainer, torch: Mapping[str, str]) -> Release:
    """The release that should be in use."""
    return trainer_release(trainer, torch["trainer"])


def test_units_are_as_described(host: Host, trainer: Trainer, paths: Paths, release: Release, manager: Manager) -> None:
    environment = release.environment.folder(paths)
    for path, text in unit_texts(trainer, paths, environment, manager).items():
        check_file(host, path, text)
    reload = unit_state(host, UNIT.name.replace("@", "@any"), manager)["NeedDaemonReload"]
    assert reload == "no", f"{manager.name} has not read {UNIT.name} since it changed"


def test_release_is_the_wanted_one(host: Host, paths: Paths, release: Release) -> None:
    current, wanted = paths.current("trainer"), release.folder(paths)
    assert host.file(str(current)).exists, f"{current} is missing"
    assert host.check_output("readlink -f %s", str(current)) == str(wanted), "another release of the trainer is in use"


def test_trainer_starts_as_its_user(host: Host, paths: Paths) -> None:
    started = host.run("runuser -u %s -- %s --help", TRAINER, str(program(paths.current("trainer"))))
    assert started.rc == 0, f"lora-train does not start: {started.stderr.strip().splitlines()[-1:]}"


def test_environment_holds_what_the_lock_says(host: Host, paths: Paths, release: Release) -> None:
    check_environment(host, release.environment, paths, TRAINER)


def test_run_cannot_change_code_or_other_runs(host: Host, paths: Paths, release: Release) -> None:
    env = release.environment.folder(paths)
    check_unwritable(host, TRAINER, (paths.runs, paths.datasets, paths.current("trainer"), env))


def test_runs_cannot_swap_what_root_gave_them(host: Host, paths: Paths) -> None:
    theirs = f"-mindepth 1 -maxdepth 1 -type d ! -name '.*' -user {TRAINER} -printf '%%p\\0'"
    mine = host.run(f"find %s {theirs}", str(paths.runs))
    assert not mine.stdout, f"{mine.stdout.partition(chr(0))[0]} belongs to {TRAINER}, as an older sdfleet left it"


def test_queue_can_be_locked(host: Host, paths: Paths) -> None:
    locks = host.file(str(turns(paths)))
    assert locks.exists, f"{locks.path} is missing: no run can start"
    assert locks.user == TRAINER, f"{locks.path} belongs to {locks.user}, not to {TRAINER}"


def test_gpus_are_there(host: Host, trainer: Trainer, places: dict[str, str]) -> None:
    facts = parse_probe(host.check_output(probe_command()).splitlines())
    if facts.smi_exit is None or trainer.gpus == 0:
        pytest.skip("no GPU: runs train on the CPU")
    found, setting = len(facts.smi_gpus), places.get("trainer.gpus", "trainer.gpus")
    assert found >= trainer.gpus, f"{setting} is {trainer.gpus}, but the host shows {found} GPU(s)"
