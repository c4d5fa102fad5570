"""The doctor's findings on GPUs and driver: the decision that apply would make, and its reasons."""

from collections.abc import Iterator

from deploy.doctor.finding import bad, good, warning
from deploy.environments import environment
from deploy.names import Application
from deploy.shapes import Finding
from deploy.torch import GIVEN, torch_builds
from inventory.model import HostSettings
from roles.facts.gpu_state import HostGpus
from roles.gpu.case import Decision
from roles.operations.application import ReleaseError
from roles.operations.locks import CPU, torch_version
from roles.said import capital, listed, say
from roles.settings import SettingError


def gpu_findings(host: HostSettings, facts: HostGpus, decision: Decision) -> Iterator[Finding]:
    """The decision for a host, and what else is wrong with its driver."""
    yield _driver(host, decision)
    for note in decision.notes:
        yield warning("gpu", note, "See docs/gpu.md.")
    if decision.action == "refuse":
        return
    yield from _builds(host, facts)
    if decision.action == "keep" and not facts.container:
        yield from _health(host, facts, decision)


def _driver(host: HostSettings, decision: Decision) -> Finding:
    match decision.action:
        case "none" | "keep":
            return good("gpu", decision.sentence)
        case "refuse":
            cure = say("{cure}.", cure=capital(decision.cure)) if decision.cure else say("See docs/gpu.md.")
            return bad("gpu", decision.reason, cure)
        case "reboot":
            return bad("gpu", decision.sentence, _apply(host) if host.gpu.reboot else "Reboot it, then: sdfleet apply")
        case _:
            return warning("gpu", decision.sentence, _apply(host))


def _apply(host: HostSettings) -> str:
    return say("Run: {command}", command=f"sdfleet apply --limit {host.name}")


def _builds(host: HostSettings, facts: HostGpus) -> Iterator[Finding]:
    try:
        torch = torch_builds(host, facts)
    except SettingError as error:
        setting = host.place(error.key)
        cure = say('Set {setting} to "auto" or "cpu" for {host}.', setting=setting, host=host.name)
        yield bad("torch", say("{setting} {why}", setting=setting, why=error.says), cure)
        return
    applications = (
        (Application.WEBUI, "WebUI"),
        (Application.COMFYUI, "ComfyUI"),
        (Application.TRAINER, say("training")),
        (Application.LORA_SCRIPTS, "lora-scripts"),
    )
    names = [
        say("{torch} for {what}", torch=_name(host, role, torch.builds[role]), what=what)
        for role, what in applications
        if torch.builds[role] and host.has(role)
    ]
    if names:
        yield good("torch", listed(names, "{these}, {that}"))
    for role, why in torch.missing.items():
        if not host.has(role):
            continue
        cure = say("Remove this host from the group {role}.", role=role)
        if role == "webui":
            cure = say('Set {setting} to "a1111" for {host}.', setting=host.place("webui.flavor"), host=host.name)
        yield bad("torch", why, cure)


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


def _name(host: HostSettings, role: Application, build: str) -> str:
    version = _locked_torch(host, role, build)
    if build == CPU:
        return say("torch {version} on the CPU", version=version) if version else say("torch on the CPU")
    if not version:
        return say("torch's {build} build", build=build)
    return f"torch {version}" if "+" in version or build == GIVEN else f"torch {version}+{build}"


def _locked_torch(host: HostSettings, role: Application, build: str) -> str:
    """The version of torch in the lock that the host gets; empty if there is none.

    On the CPU that is the lock of a CUDA build if there is no other.
    """
    try:
        return torch_version(environment(host, role, build).lock)
    except ReleaseError:  # plan and apply report what is missing
        return ""
