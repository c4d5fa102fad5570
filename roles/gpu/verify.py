"""Checks of a host's GPUs: one driver in kernel and programs, held, and torch works on every card."""

import pytest
from testinfra.host import Host

from roles.accounts import COMFYUI, TRAINER, WEBUI
from roles.facts.gpu_probe import parse_probe, probe_command
from roles.facts.gpu_state import HostGpus
from roles.gpu.case import Decision
from roles.gpu.config import Gpu
from roles.gpu.decision import decide
from roles.paths import Paths

KERNEL = """
import torch
for index in range(torch.cuda.device_count()):
    left = torch.full((64, 64), 2.0, device=f"cuda:{index}")
    assert (left @ left).sum().item() == 64 * 64 * 64 * 4
print(torch.cuda.device_count())
"""
"""Checks a product on every card: an import or is_available() would not run a kernel."""


@pytest.fixture(scope="session")
def facts(host: Host) -> HostGpus:
    """What the host shows of its GPUs."""
    return parse_probe(host.check_output(probe_command()).splitlines())


@pytest.fixture(scope="session")
def decision(facts: HostGpus, gpu: Gpu, places: dict[str, str]) -> Decision:
    """What apply would do now."""
    return decide(facts, gpu, places)


def test_nothing_is_left_to_do(decision: Decision) -> None:
    assert decision.action in ("none", "keep"), decision.sentence


def test_kernel_and_programs_run_one_driver(facts: HostGpus) -> None:
    _need_gpus(facts)
    if facts.module and facts.userspace:
        assert facts.module == facts.userspace, (
            f"driver {facts.module} is loaded, {facts.userspace} is installed: reboot"
        )
    assert facts.smi_exit == 0, f"nvidia-smi fails: {facts.smi_error}"


def test_every_card_on_the_bus_answers(facts: HostGpus) -> None:
    _need_gpus(facts)
    if facts.container:
        pytest.skip("a container sees the bus of its host, and of its cards only those it was given")
    assert len(facts.smi_gpus) == len(facts.nvidia), (
        f"{len(facts.nvidia)} GPUs on the PCI bus, {len(facts.smi_gpus)} answer"
    )


def test_driver_is_on_hold(facts: HostGpus, gpu: Gpu) -> None:
    _need_gpus(facts)
    if not gpu.hold or facts.container:
        pytest.skip("the driver is not ours to hold")
    loose = sorted(set(facts.packages) - set(facts.held))
    assert not loose, f"not on hold, so an upgrade could replace them: {', '.join(loose)}"


def test_fabric_manager_runs_where_nvswitches_are(facts: HostGpus, decision: Decision) -> None:
    if not decision.fabric_manager:
        pytest.skip("no NVSwitch")
    assert facts.fabric_manager, "nvidia-fabricmanager does not run: CUDA answers with error 802"


@pytest.mark.parametrize(("application", "user"), [("webui", WEBUI), ("comfyui", COMFYUI), ("trainer", TRAINER)])
def test_torch_computes_on_every_card(host: Host, facts: HostGpus, paths: Paths, application: str, user: str) -> None:
    _need_gpus(facts)
    python = f"{paths.current(application)}/env/bin/python"
    if not host.file(python).exists:
        pytest.skip(f"{application} is not installed")
    done = host.run("runuser -u %s -- %s -P -B -c %s", user, python, KERNEL)
    assert done.rc == 0, f"torch of {application}: {done.stderr.strip().splitlines()[-1:]}"
    assert int(done.stdout) == len(facts.smi_gpus), f"torch sees {done.stdout.strip()} of {len(facts.smi_gpus)} GPUs"


def _need_gpus(facts: HostGpus) -> None:
    if not facts.nvidia and not facts.smi_gpus:
        pytest.skip("no NVIDIA GPU: a CPU host")
