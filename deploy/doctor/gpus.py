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
from roles.said import capital, say
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
            return bad("gpu", reason if cure else decision.reason.rstrip("."), capital(cure) or "See docs/gpu.md.")
        case "reboot":
            return bad("gpu", decision.reason, _apply(host) if host.gpu.reboot else "Reboot it, then: sdfleet apply")
        case _:
            return warning("gpu", decision.reason, _apply(host))


def _apply(host: HostSettings) -> str:
    return say("Run: {command}", command=f"sdfleet apply --limit {host.name}")


def _builds(host: HostSettings, facts: HostGpus, decision: Decision) -> Iterator[Finding]:
    try:
        torch = torch_builds(host, facts)
    except SettingError as error:
        setting = host.place(error.key)
        cure = say('Set {setting} to "auto" or "cpu" for {host}.', setting=setting, host=host.name)
        yield bad("torch", say("{setting} {why}", setting=setting, why=error.says.rstrip(".")), cure)
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
            yield bad("torch", torch.why[role].rstrip("."), say("Remove this host from the group {role}.", role=role))
    if host.has("webui") and host.webui.flavor in WEBUI_FORKS and not torch.builds["webui"]:
        cure = say('Set {setting} to "a1111" for {host}.', setting=host.place("webui.flavor"), host=host.name)
        yield bad("torch", torch.why["webui"].rstrip("."), cure)


def _health(host: HostSettings, facts: HostGpus, decision: Decision) -> Iterator[Finding]:
    loose = sorted(set(facts.packages) - set(facts.held))
    if host.gpu.hold and loose:
        unheld = "{packages}: not held, so an upgrade may change the driver under the running kernel module"
        yield warning("driver", say(unheld, packages=", ".join(loose)), _apply(host))
    if decision.fabric_manager and not facts.fabric_manager:
        says = "this host has NVSwitch, but nvidia-fabricmanager is not running (CUDA error 802)"
        yield bad("driver", says, _apply(host))
    if not facts.headers and facts.source in ("nvidia", "distribution"):
        without = "the headers of kernel {kernel} are missing, so DKMS cannot build the module"
        cure = say("Run there: {command}", command=f"apt-get install linux-headers-{facts.kernel}")
        yield warning("driver", say(without, kernel=facts.kernel), cure)


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
