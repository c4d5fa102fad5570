"""The torch builds, the cards that each has code for, and the driver that each needs."""

from collections.abc import Sequence
from dataclasses import dataclass

from roles.gpu.cards import Card, Compute
from roles.gpu.config import Build
from roles.said import listed, say

Version = tuple[int, ...]


@dataclass(frozen=True)
class Torch:
    """One torch release in one CUDA build."""

    build: Build
    torch: str
    torchvision: str
    compiled_for: tuple[Compute, ...]
    """Compute capabilities that the wheel has machine code for."""
    min_driver: str
    """Oldest driver that runs it (CUDA's minor-version compatibility); empty for the CPU."""
    processors: tuple[str, ...] = ("x86_64",)
    """Processors (as `uname -m` names them) that PyTorch publishes this wheel for."""

    def runs_on(self, card: Card) -> bool:
        """Whether the wheel has code for the card: same major version, minor not above the card's."""
        return card.compute is not None and any(
            major == card.compute[0] and minor <= card.compute[1] for major, minor in self.compiled_for
        )

    def accepts(self, driver: str | None) -> bool:
        """Whether `driver` is new enough."""
        return not self.min_driver or (
            driver is not None and version_numbers(driver) >= version_numbers(self.min_driver)
        )


def version_numbers(version: str) -> Version:
    """A driver version or branch as numbers to compare: 580.95.05 -> (580, 95, 5)."""
    return tuple(int(part) for part in version.split("."))


_CU11_12: tuple[Compute, ...] = ((5, 0), (6, 0), (7, 0), (7, 5), (8, 0), (8, 6), (9, 0))
_WITH_BLACKWELL: tuple[Compute, ...] = ((7, 5), (8, 0), (8, 6), (9, 0), (10, 0), (12, 0))
_WITH_BLACKWELL_AND_VOLTA: tuple[Compute, ...] = ((7, 0), *_WITH_BLACKWELL)

_ARM: tuple[Compute, ...] = ((8, 0), (9, 0), (10, 0), (12, 0))
_BOTH = ("x86_64", "aarch64")

_CUDA11, _CUDA12, _CUDA13 = "450.80.02", "525.60.13", "580.65.06"
"""The oldest driver for any release of a CUDA major version; a card may itself need a newer one."""

WEBUI = (
    Torch("cu121", "2.1.2", "0.16.2", _CU11_12, _CUDA12),
    Torch("cu118", "2.1.2", "0.16.2", _CU11_12, _CUDA11),
    Torch("cu128", "2.8.0", "0.23.0", _WITH_BLACKWELL_AND_VOLTA, _CUDA12),
    Torch("cu126", "2.7.1", "0.22.1", _CU11_12, _CUDA12),
    Torch("cu130", "2.9.1", "0.24.1", _WITH_BLACKWELL, _CUDA13),
    Torch("cu128", "2.9.1", "0.24.1", _ARM, _CUDA12, ("aarch64",)),
    Torch("cu130", "2.9.1", "0.24.1", _ARM, _CUDA13, ("aarch64",)),
    Torch("cpu", "2.1.2", "0.16.2", (), "", _BOTH),
)
"""Preferred first: 2.1.2 is what WebUI 1.10.1 was released with; RTX 50 needs 2.7 or newer and cu128.

For aarch64 there is no CUDA wheel of 2.1.2, and none of 2.8.0+cu128; from 2.9 on there are wheels of every CUDA.
"""

LORA_SCRIPTS = (
    Torch("cu128", "2.8.0", "0.23.0", _WITH_BLACKWELL_AND_VOLTA, _CUDA12),
    Torch("cu126", "2.7.1", "0.22.1", _CU11_12, _CUDA12),
    Torch("cpu", "2.8.0", "0.23.0", (), ""),
)
"""Upstream's installer takes cu128 for every CUDA 12, which has no code for Maxwell and Pascal."""

COMFYUI = (
    Torch("cu128", "2.9.1", "0.24.1", _WITH_BLACKWELL_AND_VOLTA, _CUDA12),
    Torch("cu126", "2.7.1", "0.22.1", _CU11_12, _CUDA12),
    Torch("cpu", "2.9.1", "0.24.1", (), ""),
)
"""ComfyUI asks for no version of torch; these are the trainer's, so that a host that has both downloads one."""

FORGE_NEO = (
    Torch("cu128", "2.9.1", "0.24.1", _WITH_BLACKWELL_AND_VOLTA, _CUDA12),
    Torch("cpu", "2.9.1", "0.24.1", (), ""),
)
"""What its launcher installs."""

WEBUI_FORKS = {"forge-neo": FORGE_NEO}
"""Flavors of the WebUI that have builds of their own."""

TRAINER = (
    Torch("cu128", "2.9.1", "0.24.1", _WITH_BLACKWELL_AND_VOLTA, _CUDA12),
    Torch("cu126", "2.7.1", "0.22.1", _CU11_12, _CUDA12),
    Torch("cu130", "2.9.1", "0.24.1", _WITH_BLACKWELL, _CUDA13),
    Torch("cu128", "2.9.1", "0.24.1", _ARM, _CUDA12, ("aarch64",)),
    Torch("cu130", "2.9.1", "0.24.1", _ARM, _CUDA13, ("aarch64",)),
    Torch("cpu", "2.9.1", "0.24.1", (), "", _BOTH),
)
"""One release for all current cards, so that trainings give the same results; cu126 is for Maxwell and Pascal."""


@dataclass(frozen=True)
class Machine:
    """Processor and cards of a host."""

    processor: str
    """As `uname -m` names it: x86_64, aarch64."""
    cards: tuple[Card, ...]


def choose_torch(builds: Sequence[Torch], wanted: str, machine: Machine, driver: str | None) -> Torch | None:
    """The first of `builds` that runs on every card of `machine` with `driver`; None if there is none.

    A branch counts as its newest release. `wanted` is a build's name or "auto". Without cards it is the CPU build.
    """
    if driver is not None and "." not in driver:
        driver += ".999"
    for torch in _offered(builds, wanted, machine):
        if torch.build == "cpu":
            if wanted == "cpu" or not machine.cards:
                return torch
        elif machine.cards and torch.accepts(driver) and all(map(torch.runs_on, machine.cards)):
            return torch
    return None


def why_no_torch(builds: Sequence[Torch], wanted: str, machine: Machine, driver: str | None) -> str:
    """One clause that says why `choose` found nothing."""
    offered = _offered(builds, wanted, machine)
    where = "" if machine.processor == "x86_64" else say(" for {processor}", processor=machine.processor)
    if not offered:
        if wanted == "auto":
            return say("there is no build of torch{where}", where=where)
        known = ", ".join(dict.fromkeys(torch.build for torch in _offered(builds, "auto", machine)))
        unknown = "there is no {wanted} build of torch{where} here; known are {known}"
        return say(unknown, wanted=wanted, where=where, known=known or say("none"))
    if not machine.cards:
        return say("the {wanted} build of torch needs an NVIDIA GPU", wanted=wanted)
    fitting = [torch for torch in offered if torch.build != "cpu" and all(map(torch.runs_on, machine.cards))]
    if not fitting:
        kind = say("build") if wanted == "auto" else say("{wanted} build", wanted=wanted)
        alone = sorted({card.name for card in machine.cards if not any(torch.runs_on(card) for torch in offered)})
        names = listed(alone or sorted({card.name for card in machine.cards}), "{these} and {that}")
        together = "" if alone else say(" together")
        without = "no {kind} of torch{where} has code for {names}{together}"
        return say(without, kind=kind, where=where, names=names, together=together)
    oldest = min(fitting, key=lambda torch: version_numbers(torch.min_driver))
    build, needed = f"{oldest.torch}+{oldest.build}", oldest.min_driver
    too_old = "torch {build} needs driver {needed} or newer, not {driver}"
    return say(too_old, build=build, needed=needed, driver=driver or say("none"))


def _offered(builds: Sequence[Torch], wanted: str, machine: Machine) -> list[Torch]:
    return [torch for torch in builds if wanted in ("auto", torch.build) and machine.processor in torch.processors]
