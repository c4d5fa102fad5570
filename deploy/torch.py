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
    why: str
    """One sentence: what the GPU role decided."""


NO_TORCH = TorchBuilds("", "", "")
"""For a run whose roles compute nothing."""


def torch_builds(host: HostSettings, facts: HostGpus) -> TorchBuilds:
    """What `host` gets, of which `facts` are known. SdfleetError if it is to use a GPU that is not there."""
    decision = decide(facts, host.gpu)
    webui = CPU if host.webui.device == "cpu" else decision.webui.build if decision.webui else ""
    trainer = CPU if host.trainer.gpus == 0 else decision.trainer.build if decision.trainer else ""
    if host.has("webui") and host.webui.device == "cuda" and webui == CPU:
        raise SdfleetError(f'webui.device is "cuda", but the host is to compute on its CPU: {decision.reason}')
    return TorchBuilds(webui, trainer, " ".join((decision.reason, *decision.notes)))
