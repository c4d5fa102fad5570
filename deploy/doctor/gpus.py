"""The doctor's findings on GPUs and driver: the decision that apply would make, and its reasons."""

from collections.abc import Iterator

from deploy.doctor.finding import bad, good, warning
from deploy.environments import environment
from deploy.names import Application
from deploy.shapes import Finding
from deploy.torch import torch_builds
from inventory.model import HostSettings
from roles.facts.gpu_state import HostGpus
from roles.gpu.case import Decision
from roles.gpu.torch_builds import WEBUI_FORKS, Torch
from roles.operations.application import ReleaseError
from roles.operations.locks import CPU, torch_version
from roles.settings import SettingError


def gpu_findings(host: HostSettings, facts: HostGpus, decision: Decision) -> Iterator[Finding]:
    """The decision for a host, and what else is wrong with its driver."""
    yield _driver(host, decision)
    for note in decision.notes:
        yield warning("gpu", note, "See docs/gpu.md.")
    if decision.action == "refuse":
        return
    yield from _builds(host, facts, decision)
    if decision.action == "keep" and not facts.container:
        yield from _health(host, facts, decision)


def _driver(host: HostSettings, decision: Decision) -> Finding:
    match decision.action:
        case "none" | "keep":
            return good("gpu", decision.reason)
        case "refuse":
            reason, _, cure = decision.reason.partition(": " if ": " in decision.reason else "; ")
            return bad("gpu", reason if cure else decision.reason.rstrip("."), _sentence(cure) or "See docs/gpu.md.")
        case "reboot":
            cure = f"Run: sdfleet apply --limit {host.name}" if host.gpu.reboot else "Reboot it, then: sdfleet apply"
            return bad("gpu", decision.reason, cure)
        case _:
            return warning("gpu", decision.reason, f"Run: sdfleet apply --limit {host.name}")


def _builds(host: HostSettings, facts: HostGpus, decision: Decision) -> Iterator[Finding]:
    try:
        torch = torch_builds(host, facts)
    except SettingError as error:
        setting = host.place(error.key)
        yield bad("torch", f"{setting} {error.says.rstrip('.')}", f'Set {setting} to "auto" or "cpu" for {host.name}.')
        return
    parts = [
        (Application.WEBUI, "WebUI", None if host.webui.flavor in WEBUI_FORKS else decision.webui),
        (Application.COMFYUI, "ComfyUI", None),
        (Application.TRAINER, "training", decision.trainer),
        (Application.LORA_SCRIPTS, "lora-scripts", None),
    ]
    names = [
        f"{_name(host, role, torch.builds[role], decided)} for {what}"
        for role, what, decided in parts
        if torch.builds[role] and host.has(role)
    ]
    if names:
        yield good("torch", ", ".join(names))
    for role in ("comfyui", "lora_scripts"):
        if host.has(role) and not torch.builds[role]:
            yield bad("torch", torch.why[role].rstrip("."), f"Remove this host from the group {role}.")


def _health(host: HostSettings, facts: HostGpus, decision: Decision) -> Iterator[Finding]:
    loose = sorted(set(facts.packages) - set(facts.held))
    if host.gpu.hold and loose:
        says = f"{', '.join(loose)}: not held, so an upgrade may change the driver under the running kernel module"
        yield warning("driver", says, f"Run: sdfleet apply --limit {host.name}")
    if decision.fabric_manager and not facts.fabric_manager:
        cure = f"Run: sdfleet apply --limit {host.name}"
        yield bad("driver", "this host has NVSwitch, but nvidia-fabricmanager is not running (CUDA error 802)", cure)
    if not facts.headers and facts.source in ("nvidia", "distribution"):
        says = f"the headers of kernel {facts.kernel} are missing, so DKMS cannot build the module"
        yield warning("driver", says, f"Run there: apt-get install linux-headers-{facts.kernel}")


def _name(host: HostSettings, role: Application, build: str, torch: Torch | None) -> str:
    if build == CPU:  # from the lock of a CUDA build if there is no other
        version = _locked_torch(host, role)
        return f"torch {version} on the CPU" if version else "torch on the CPU"
    return f"torch {torch.torch}+{build}" if torch and torch.build == build else f"torch's {build} build"


def _locked_torch(host: HostSettings, role: Application) -> str:
    """The version of torch in the lock that a host without a GPU gets; empty if there is none."""
    try:
        return torch_version(environment(host, role, CPU).lock)
    except ReleaseError:  # plan and apply report what is missing
        return ""


def _sentence(clause: str) -> str:
    return clause[:1].upper() + clause[1:]
