"""Operations of the GPU role."""

import shlex
from collections.abc import Generator, Mapping

from pyinfra.api.command import PyinfraCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.exceptions import DeployError
from pyinfra.api.operation import operation
from pyinfra.context import host
from pyinfra.operations import server, systemd

from roles.facts.gpu import Gpus
from roles.facts.gpu_state import HostGpus
from roles.facts.seen import HostSurvey
from roles.facts.survey import Survey
from roles.gpu import commands, files
from roles.gpu.case import Decision
from roles.gpu.config import Gpu
from roles.gpu.decision import decide
from roles.gpu.driver_check import DriverCheck
from roles.gpu.packages import branch_of
from roles.operations.files import Commands, rendered
from roles.paths import Paths


@deploy("GPU")
def install(gpu: Gpu, paths: Paths, places: Mapping[str, str]) -> None:
    """
    Install or keep a driver that fits the host's cards, or fail with the reason.

    + gpu: the role's settings
    + paths: the host's paths
    + places: a setting -> its key in fleet.toml, if a group's or the host's table sets it
    """
    facts: HostGpus = host.get_fact(Gpus)
    decision = decide(facts, gpu, places)
    for note in decision.notes:
        host.log(note)
    if decision.action == "refuse":
        raise DeployError(decision.sentence)
    if decision.action == "none" or facts.container:
        host.noop(decision.sentence)
        return
    texts = [files.SOURCES, files.PIN, files.NOUVEAU, files.UNATTENDED]
    seen: HostSurvey = host.get_fact(Survey, texts=texts, paths=[files.KEYRING])
    brings = decision.action in ("install", "upgrade")
    fabric = fabric_manager_wanted(decision, facts)
    if brings or seen.entry(files.SOURCES):
        add_repository(gpu, decision, facts, paths, seen)
    install_driver(gpu, decision, facts)
    if fabric:
        # Blackwell's switches are not on the host's own bus.
        command = commands.install_fabric_manager(decision.driver or "", blackwell=not facts.nvswitches)
        server.shell(name="Install the fabric manager", commands=[command])
    if gpu.hold:
        hold_packages(facts, seen, installed=brings or fabric)
    driver_checked(name="Check the driver", gpu=gpu, decision=decision, places=places)
    # Only now: neither daemon starts without a loaded module, which may have needed the reboot. The persistence daemon
    # keeps the driver initialised while no program uses the card.
    if brings or (not facts.persistence and "nvidia-persistenced" in facts.packages):
        service = "nvidia-persistenced.service"
        systemd.service(name="Run the persistence daemon", service=service, enabled=True)
    if fabric:
        systemd.service(name="Run the fabric manager", service="nvidia-fabricmanager.service", enabled=True)


def add_repository(gpu: Gpu, decision: Decision, facts: HostGpus, paths: Paths, seen: HostSurvey) -> None:
    """Have NVIDIA's repository, of which apt takes only the driver's branch, and no nouveau beside it.

    + seen: a survey that looked at these files
    """
    # The wanted branch, not the installed version: a planned upgrade may then install its next release.
    wanted = gpu.driver if gpu.driver not in ("auto", "keep") else str(branch_of(decision.driver or ""))
    repository(name="Add NVIDIA's repository", gpu=gpu, facts=facts, paths=paths, seen=seen)
    rendered(name="Pin the driver", dest=files.PIN, text=files.pin(gpu, wanted), seen=seen)
    rendered(name="Block nouveau", dest=files.NOUVEAU, text=files.nouveau(), seen=seen)


def install_driver(gpu: Gpu, decision: Decision, facts: HostGpus) -> None:
    """Install, upgrade or repair the driver, as was decided."""
    if decision.action in ("install", "upgrade"):
        what = " ".join(part for part in ("driver", decision.driver, decision.modules) if part)
        server.shell(name=f"Install {what}", commands=commands.install_driver(gpu, decision, facts))
    elif decision.action == "repair":
        name = f"Build the driver's module for kernel {facts.kernel}"
        server.shell(name=name, commands=commands.repair_module(facts))
    else:
        host.noop(decision.sentence)


def hold_packages(facts: HostGpus, seen: HostSurvey, installed: bool) -> None:
    """Keep apt from upgrading the driver under running programs.

    + installed: whether this run installs packages
    """
    text = files.unattended()
    rendered(name="Exclude the driver from unattended upgrades", dest=files.UNATTENDED, text=text, seen=seen)
    if installed or set(facts.packages) != set(facts.held):
        server.shell(name="Hold the driver's packages", commands=[commands.hold()])


@operation()
def repository(gpu: Gpu, facts: HostGpus, paths: Paths, seen: HostSurvey) -> Commands:
    """
    Add NVIDIA's repository to apt, signed by the pinned key only.

    + gpu: the repository and its key
    + facts: the host's distribution and processor
    + paths: the host's paths
    + seen: a survey that looked at the files
    """
    if seen.text(files.SOURCES) == files.sources(gpu, facts) and seen.entry(files.KEYRING):
        host.noop("NVIDIA's repository is known")
        return
    yield commands.put_key(paths.onhost, gpu, facts)
    yield commands.set_other_sources_aside(gpu, facts)
    new = shlex.quote(f"{files.SOURCES}.sdfleet-new")
    text = shlex.quote(files.sources(gpu, facts))
    yield f"printf %s {text} >{new} && chmod 644 {new} && mv -fT {new} {shlex.quote(str(files.SOURCES))}"


def fabric_manager_wanted(decision: Decision, facts: HostGpus) -> bool:
    """Whether the fabric manager must be installed or started; a driver from a .run file includes its own."""
    if not decision.fabric_manager:
        return False
    return decision.action in ("install", "upgrade") or (
        not facts.fabric_manager and facts.source in ("nvidia", "distribution")
    )


@operation()
def driver_checked(gpu: Gpu, decision: Decision, places: Mapping[str, str]) -> Generator[PyinfraCommand, None, None]:
    """
    Check that the driver works, after a reboot if it needs one and the settings allow it.

    + gpu: the role's settings
    + decision: what was done
    + places: a setting -> its key in fleet.toml, if a group's or the host's table sets it
    """
    if decision.action == "keep":
        host.noop(decision.sentence)
        return
    yield DriverCheck(gpu, places)
