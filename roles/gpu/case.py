"""A host as input to the rules of `roles.gpu.decision`, and their decision."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from roles.facts.gpu_state import HostGpus
from roles.gpu.cards import Card, Modules, card_by_id, card_by_smi
from roles.gpu.config import Gpu
from roles.gpu.packages import branch_of
from roles.gpu.torch_builds import TRAINER, WEBUI, Machine, Torch, choose_torch, version_numbers, why_no_torch
from roles.said import say

DEFAULT_BRANCH = "580"
"""The newest branch that drives everything from Maxwell to Blackwell Ultra; NVIDIA supports it until 2028."""
ANY_DRIVER = "999"
"""Stands for a driver newer than any build requires."""
NO_PROPRIETARY_FROM = 620
"""From this branch on NVIDIA ships the open kernel modules only."""
Action = Literal["none", "keep", "install", "upgrade", "repair", "reboot", "refuse"]


@dataclass(frozen=True)
class Decision:
    """What happens to the driver, why, and the torch builds that follow."""

    action: Action
    reason: str
    """What is so and what follows, a sentence without its full stop."""
    cure: str = ""
    """What a person must do, a clause; empty if nothing, or nothing that is known."""
    driver: str | None = None
    """Version (kept) or branch (installed) that the host will run."""
    modules: Modules | None = None
    packages: tuple[str, ...] = ()
    fabric_manager: bool = False
    webui: Torch | None = None
    trainer: Torch | None = None
    notes: tuple[str, ...] = ()
    """Further sentences for the user."""

    @property
    def sentence(self) -> str:
        """Reason and cure, for the user."""
        if self.cure:
            return say("{reason}: {cure}.", reason=self.reason, cure=self.cure)
        return say("{reason}.", reason=self.reason)


@dataclass(frozen=True)
class Case:
    """A host and its settings, with what several rules need."""

    facts: HostGpus
    gpu: Gpu
    cards: tuple[Card, ...]
    places: Mapping[str, str] = field(default_factory=dict)
    """A setting ("gpu.driver") -> its key in fleet.toml, if it is another one for this host."""

    def place(self, setting: str) -> str:
        """The key in fleet.toml that decides `setting` for this host."""
        return self.places.get(setting, setting)

    @property
    def present(self) -> str | None:
        """Version of the present driver, loaded or not."""
        return self.facts.module or self.facts.userspace or self.facts.module_on_disk

    @property
    def wanted(self) -> str:
        """Branch or version to install."""
        return DEFAULT_BRANCH if self.gpu.driver in ("auto", "keep") else self.gpu.driver

    @property
    def asked_for(self) -> bool:
        """Whether the settings name a driver."""
        return self.gpu.driver not in ("auto", "keep")

    def as_asked(self, driver: str) -> bool:
        """Whether `driver` is of the branch or version in the settings; True for any if they name none."""
        wanted = version_numbers(self.wanted)
        return not self.asked_for or version_numbers(driver)[: len(wanted)] == wanted

    @property
    def machine(self) -> Machine:
        """Processor and cards, for the choice of a torch build."""
        return Machine(self.facts.arch, self.cards)

    def misfit(self, driver: str) -> str | None:
        """A clause that says why `driver` (a version or branch) cannot drive every card; None if it can."""
        branch = branch_of(driver)
        for card in self.cards:
            generation = card.generation
            if generation and branch < generation.first_branch:
                return say("{card} needs driver {driver} or newer", card=card.name, driver=generation.first_branch)
            if generation and generation.last_branch and branch > generation.last_branch:
                return say("driver {driver} is the last for {card}", driver=generation.last_branch, card=card.name)
        return None

    @property
    def modules(self) -> tuple[Modules, ...]:
        """Kernel modules that drive all cards, the better ones first."""
        common: list[Modules] = ["open", "proprietary"]
        for card in self.cards:
            common = [m for m in common if card.generation is None or m in card.generation.modules]
        if branch_of(self.wanted) >= NO_PROPRIETARY_FROM:
            common = [m for m in common if m == "open"]
        return tuple(m for m in common if self.gpu.modules in ("auto", m))

    def torch(self, driver: str | None) -> tuple[Torch | None, Torch | None]:
        """Builds for WebUI and trainer under `driver`, a version or a branch."""
        return (
            choose_torch(WEBUI, self.gpu.webui_torch, self.machine, driver),
            choose_torch(TRAINER, self.gpu.trainer_torch, self.machine, driver),
        )

    def serves(self, driver: str) -> bool:
        """Whether `driver` runs every build that any driver could run on these cards."""
        pairs = zip(self.torch(driver), self.torch(ANY_DRIVER), strict=True)
        return all(have is not None or possible is None for have, possible in pairs)

    def why_no_webui(self, driver: str | None) -> str:
        """One clause that says why there is no torch for the WebUI under `driver`."""
        return why_no_torch(WEBUI, self.gpu.webui_torch, self.machine, driver)

    def why_no_trainer(self, driver: str | None) -> str:
        """One clause that says why there is no torch for training under `driver`."""
        return why_no_torch(TRAINER, self.gpu.trainer_torch, self.machine, driver)

    def settled(self, action: Action, reason: str, driver: str | None, *notes: str, cure: str = "") -> Decision:
        """A decision under which the host will run `driver`."""
        webui, trainer = self.torch(driver)
        if not all(card.known for card in self.cards):
            later = "Apply again once the driver runs: nvidia-smi then names the card, and torch is chosen."
            notes = (*notes, say(later))
        elif trainer is None and self.cards:
            notes = (*notes, say("No training here: {why}.", why=self.why_no_trainer(driver)))
        fabric = bool(self.facts.nvswitches) or sum(_is_hgx_blackwell(card) for card in self.cards) >= 8
        fabric = fabric and not self.facts.container
        return Decision(action, reason, cure, driver, fabric_manager=fabric, webui=webui, trainer=trainer, notes=notes)

    def refuse(self, reason: str, cure: str = "") -> Decision:
        """Change nothing; keep a driver that at least the WebUI can use, unless the settings name another."""
        if self.facts.driver_works and not self.asked_for and self.torch(self.present)[0]:
            kept = say("Driver {driver} is kept, although: {reason}", driver=self.present, reason=reason)
            return self.settled("keep", kept, self.present, cure=cure)
        return Decision("refuse", reason, cure)


def cards_of(facts: HostGpus) -> tuple[Card, ...]:
    """The GPUs the host can use.

    In a container /sys shows all GPUs of its host, so nvidia-smi decides there; on a machine the bus decides, because
    a driver hides the cards that it is too old for.
    """
    answered = tuple(card_by_smi(gpu.name, gpu.compute) for gpu in facts.smi_gpus)
    if facts.container and answered:
        return answered
    found = tuple(card_by_id(device.device) for device in facts.nvidia)
    if len(answered) == len(found) and not all(card.known for card in found):
        return answered
    return found


def _is_hgx_blackwell(card: Card) -> bool:
    # Their NVSwitches are not on the host's own bus.
    return card.name.startswith(("B200", "B300"))
