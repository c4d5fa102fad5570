"""Which torch builds a host gets: as the GPU role decides, or CPU if the settings say so."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inventory.model import HostSettings
from roles.comfyui.config import Comfyui
from roles.facts.gpu_state import HostGpus
from roles.gpu.case import Decision, cards_of
from roles.gpu.decision import decide
from roles.gpu.torch_builds import COMFYUI, LORA_SCRIPTS, WEBUI_FORKS, Machine, Torch, choose_torch, why_no_torch
from roles.lora_scripts.config import LoraScripts
from roles.operations.locks import CPU
from roles.said import say
from roles.settings import SettingError
from roles.webui.config import Webui

GIVEN = "cuda"
"""The build of the user's own lock, if none of ours fits."""


@dataclass(frozen=True)
class TorchBuilds:
    """The build of each application, and why it is this one or none, by role."""

    builds: Mapping[str, str]
    """E.g. cu121; empty if there is none."""
    why: Mapping[str, str]
    """The GPU role's decision, as a sentence; of those with builds of their own, why none of these fits."""
    missing: Mapping[str, str]
    """Of those with builds of their own: why none of these fits, a sentence without its full stop."""


NO_TORCH = TorchBuilds({}, {}, {})
"""For a run without a role that needs torch."""


def torch_builds(host: HostSettings, facts: HostGpus) -> TorchBuilds:
    """The builds for `host`. Raises SettingError if its settings require a GPU that it does not have."""
    decision = decide(facts, host.gpu, host.places)
    builds = {
        "webui": _webui_build(host, facts, decision),
        "comfyui": _own_build(COMFYUI, host.comfyui, facts, decision),
        "lora_scripts": _own_build(LORA_SCRIPTS, host.lora_scripts, facts, decision),
        "trainer": CPU if host.trainer.gpus == 0 else decision.trainer.build if decision.trainer else "",
    }
    for role in ("webui", "comfyui", "lora_scripts"):
        if host.has(role) and getattr(host, role).device == "cuda" and builds[role] == CPU:
            raise SettingError(
                f"{role}.device", say('is "cuda", but this host uses its CPU: {why}', why=decision.reason)
            )
    missing = {}
    owned: list[tuple[str, str, Sequence[Torch], str]] = [
        ("comfyui", "ComfyUI", COMFYUI, "auto"),
        ("lora_scripts", "lora-scripts", LORA_SCRIPTS, "auto"),
    ]
    if fork := WEBUI_FORKS.get(host.webui.flavor):
        owned.append(("webui", host.webui.flavor, fork, host.gpu.webui_torch))
    for role, name, its, wanted in owned:
        if not builds[role] and decision.action != "refuse" and all(card.known for card in cards_of(facts)):
            no_torch = why_no_torch(its, wanted, Machine(facts.arch, cards_of(facts)), decision.driver)
            missing[role] = say("No {name} here: {why}", name=name, why=no_torch)
    why = dict.fromkeys(builds, " ".join((decision.sentence, *decision.notes)))
    return TorchBuilds(builds, why | {role: f"{said}." for role, said in missing.items()}, missing)


def _webui_build(host: HostSettings, facts: HostGpus, decision: Decision) -> str:
    """The WebUI's build, or that of its fork; empty if there is none."""
    fork = WEBUI_FORKS.get(host.webui.flavor)
    if host.webui.device == "cpu":
        return CPU
    if not fork:
        return decision.webui.build if decision.webui else ""
    return _fitting(fork, host.gpu.webui_torch, host.webui, facts, decision)


def _own_build(builds: Sequence[Torch], settings: LoraScripts | Comfyui, facts: HostGpus, decision: Decision) -> str:
    """The build of an application that has its own ones; empty if there is none."""
    if settings.device == "cpu" or not cards_of(facts):
        return CPU
    if decision.action != "refuse" and settings.torch != "auto":
        return settings.torch
    return _fitting(builds, "auto", settings, facts, decision)


def _fitting(
    builds: Sequence[Torch], wanted: str, settings: LoraScripts | Comfyui | Webui, facts: HostGpus, decision: Decision
) -> str:
    """The one of `builds` that fits the host, or that of the user's own lock; empty if there is neither."""
    if decision.action == "refuse":
        return ""
    torch = choose_torch(builds, wanted, Machine(facts.arch, cards_of(facts)), decision.driver)
    return torch.build if torch else GIVEN if settings.requirements else ""
