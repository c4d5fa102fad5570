"""Which torch builds a host gets: as the GPU role decides, or CPU if the settings say so."""

from collections.abc import Sequence
from dataclasses import dataclass

from inventory.model import HostSettings
from roles.comfyui.config import Comfyui
from roles.facts.gpu_state import HostGpus
from roles.gpu.case import Decision, cards_of
from roles.gpu.decision import decide
from roles.gpu.torch_builds import COMFYUI, LORA_SCRIPTS, Machine, Torch, choose_torch, why_no_torch
from roles.lora_scripts.config import LoraScripts
from roles.operations.locks import CPU
from roles.settings import SettingError

GIVEN = "cuda"
"""The build of the user's own lock, if none of ours fits."""


@dataclass(frozen=True)
class TorchBuilds:
    """The build of each application, e.g. cu121; empty if there is none, or it is not known yet."""

    webui: str
    trainer: str
    lora_scripts: str
    why: str
    """The GPU role's decision, as a sentence."""
    why_no_lora_scripts: str = ""
    """The same for lora-scripts, which has its own builds."""
    comfyui: str = ""
    why_no_comfyui: str = ""
    """The same for ComfyUI."""


NO_TORCH = TorchBuilds("", "", "", "")
"""For a run without a role that needs torch."""


def torch_builds(host: HostSettings, facts: HostGpus) -> TorchBuilds:
    """The builds for `host`. Raises SettingError if its settings require a GPU that it does not have."""
    decision = decide(facts, host.gpu, host.places)
    webui = CPU if host.webui.device == "cpu" else decision.webui.build if decision.webui else ""
    trainer = CPU if host.trainer.gpus == 0 else decision.trainer.build if decision.trainer else ""
    lora_scripts = _own_build(LORA_SCRIPTS, host.lora_scripts, facts, decision)
    comfyui = _own_build(COMFYUI, host.comfyui, facts, decision)
    for role, device, build in (
        ("webui", host.webui.device, webui),
        ("comfyui", host.comfyui.device, comfyui),
        ("lora_scripts", host.lora_scripts.device, lora_scripts),
    ):
        if host.has(role) and device == "cuda" and build == CPU:
            raise SettingError(f"{role}.device", f'is "cuda", but this host uses its CPU: {decision.reason}')
    why = " ".join((decision.reason, *decision.notes))

    def why_not(name: str, builds: Sequence[Torch], build: str) -> str:
        if decision.action == "refuse" or build:
            return why
        return f"No {name} here: {why_no_torch(builds, 'auto', Machine(facts.arch, cards_of(facts)), decision.driver)}."

    return TorchBuilds(
        webui,
        trainer,
        lora_scripts,
        why,
        why_not("lora-scripts", LORA_SCRIPTS, lora_scripts),
        comfyui,
        why_not("ComfyUI", COMFYUI, comfyui),
    )


def _own_build(builds: Sequence[Torch], settings: LoraScripts | Comfyui, facts: HostGpus, decision: Decision) -> str:
    """The build of an application that has its own ones; empty if there is none."""
    cards = cards_of(facts)
    if settings.device == "cpu" or not cards:
        return CPU
    if decision.action == "refuse":
        return ""
    if settings.torch != "auto":
        return settings.torch
    torch = choose_torch(builds, "auto", Machine(facts.arch, cards), decision.driver)
    return torch.build if torch else GIVEN if settings.requirements else ""
