"""Which torch builds a host gets: what the GPU role decides, unless the settings want no GPU."""

from dataclasses import dataclass

from inventory.errors import SdfleetError
from inventory.model import HostSettings
from roles.facts.gpu_state import HostGpus
from roles.gpu.decision import decide
from roles.operations.locks import CPU


@dataclass(frozen=True)
class TorchBuilds:
    """The build of each application, e.g. cu121; empty where none can be had, or none is known yet."""

    webui: str
    trainer: str
    lora_scripts: str
    why: str
    """One sentence: what the GPU role decided."""


NO_TORCH = TorchBuilds("", "", "", "")
"""For a run whose roles compute nothing."""


def torch_builds(host: HostSettings, facts: HostGpus) -> TorchBuilds:
    """What `host` gets, of which `facts` are known. SdfleetError if it is to use a GPU that is not there."""
    decision = decide(facts, host.gpu)
    webui = CPU if host.webui.device == "cpu" else decision.webui.build if decision.webui else ""
    # What trains gets one build, whichever program starts it.
    training = decision.trainer.build if decision.trainer else ""
    trainer = CPU if host.trainer.gpus == 0 else training
    lora_scripts = CPU if host.lora_scripts.device == "cpu" else training
    for role, device, build in (
        ("webui", host.webui.device, webui),
        ("lora_scripts", host.lora_scripts.device, lora_scripts),
    ):
        if host.has(role) and device == "cuda" and build == CPU:
            raise SdfleetError(f'{role}.device is "cuda", but the host is to compute on its CPU: {decision.reason}')
    return TorchBuilds(webui, trainer, lora_scripts, " ".join((decision.reason, *decision.notes)))
